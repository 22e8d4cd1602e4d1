"""A server, a browser that may reach nothing else, and pictures to drop on a page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lehr_server import Server
from web_browser import WAIT_MS, Ask, Browser, asking, flower

CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="DIR", help="write pictures of the pages there")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("web") / "home").start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """Debian's browser, driven by Playwright."""
    found = next((path for path in CHROMIUM if shutil.which(path)), None)
    if found is None:
        sentence = "Chromium is missing; install it with `apt-get install chromium`"
        pytest.skip(sentence)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_browser(chromium: object, request: pytest.FixtureRequest) -> Iterator[Callable[..., Browser]]:
    """`open_browser(server)`: a fresh browser; at its end there was no error in it and no request to anybody else."""
    shots = request.config.getoption("--screenshots", default=None)
    opened: list[tuple[Browser, object]] = []

    def make(server: Server, *, dark: bool = False, phone: bool = False) -> Browser:
        size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 800}
        context = chromium.new_context(color_scheme="dark" if dark else "light", viewport=size)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        browser = Browser(page=page, base=server.base, shots=Path(shots) if shots else None)
        _watch(context, page, browser)
        opened.append((browser, context))
        return browser

    yield make
    for browser, context in opened:
        context.close()
        assert browser.errors == []
        assert browser.outside == []


def _watch(context: object, page: object, browser: Browser) -> None:
    def route(asked: object) -> None:
        if asked.request.url.startswith((browser.base, "data:", "blob:")):
            asked.continue_()
        else:
            browser.outside.append(asked.request.url)
            asked.abort()

    context.route("**/*", route)
    page.on("pageerror", lambda error: browser.errors.append(str(error)))
    page.on("console", lambda said: browser.errors.append(said.text) if said.type == "error" else None)
    page.on("websocket", lambda socket: _judge(socket.url, browser))


def _judge(url: str, browser: Browser) -> None:
    if not url.startswith(browser.base.replace("http", "ws", 1)):
        browser.outside.append(url)


@pytest.fixture
def signed_in(open_browser: Callable[..., Browser], server: Server) -> Browser:
    browser = open_browser(server)
    browser.sign_in()
    return browser


@pytest.fixture(scope="session")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of drawn flowers, all different."""
    root = tmp_path_factory.mktemp("flowers")
    for index in range(12):
        kind = ("rose", "lily")[index % 2]
        folder = root / kind
        folder.mkdir(exist_ok=True)
        flower(kind, seed=index).save(folder / f"{kind}-{index:02d}.jpg", quality=88)
    return root


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may stop; not started yet."""
    one = Server(tmp_path / "home")
    yield one
    one.stop()


@pytest.fixture
def ask_as(server: Server) -> Ask:
    """`ask_as("GetApp", app_id="flowers")`: the published client's answer, to compare a page with."""
    return asking(server)
