"""A page of a real browser, the published client beside it, and flowers to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
from clarifai_grpc.grpc.api import resources_pb2, service_pb2, service_pb2_grpc
from lehr_server import TOKEN, Server
from PIL import Image, ImageDraw

WAIT_MS = 20_000
Ask = Callable[..., object]


@dataclass
class Browser:
    """A page of a real browser, and what went wrong in it."""

    page: object
    base: str
    shots: Path | None
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Opens one of our pages and waits until it is shown."""
        self.page.goto(self.base + path)
        self.shown()

    def shown(self) -> None:
        """Waits until the page has come, and speaks with the server."""
        self.page.wait_for_selector(".lehr-page")
        self.page.wait_for_function("window.did_handshake === true")

    def follow(self, place: object) -> None:
        """Clicks what leads to another page, and waits for that."""
        with self.page.expect_navigation():
            place.click()
        self.shown()

    def sign_in(self, key: str = TOKEN) -> None:
        self.page.goto(self.base + "/sign-in")
        self.page.get_by_label("Personal access token").fill(key)
        self.page.get_by_role("button", name="Sign in").click()
        self.shown()

    def make_first_app(self, name: str) -> None:
        """As somebody does who has none yet: ends on its page."""
        self.page.get_by_role("button", name="Make the first app").click()
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_role("button", name="Make app").click()
        self.page.wait_for_url(f"**/apps/{name}")
        self.shown()

    def shoot(self, name: str) -> None:
        """Keeps a picture, if any are wanted."""
        if self.shots:
            self.shots.mkdir(parents=True, exist_ok=True)
            self.page.wait_for_timeout(1500)  # until what moves has settled, a player's wheel too
            self.page.screenshot(path=self.shots / f"{name}.png")


# A menu that closes loses its options before it goes, and what fades in has not its contrast yet.
AT_REST = """() => !document.querySelector('.q-menu') && document.getAnimations().every(
    moving => moving.playState !== 'running' || moving.effect.getComputedTiming().endTime === Infinity)"""


def serious_faults(page: object) -> list[str]:
    """What axe-core finds serious or worse."""
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_function(AT_REST)
    faults = Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {node['html'][:160]}"
        for fault in faults
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"][:3]
    ]


def asking(server: Server) -> Ask:
    """Calls of the published client: `ask("GetApp", app_id="flowers")`."""
    channel = ClarifaiChannel.get_insecure_grpc_channel(base="127.0.0.1", port=server.port)
    stub = service_pb2_grpc.V2Stub(channel)

    def ask(name: str, app_id: str = "", **fields: object) -> object:
        user_app = resources_pb2.UserAppIDSet(user_id="lehr", app_id=app_id)
        request = getattr(service_pb2, f"{name}Request")(user_app_id=user_app, **fields)
        answer = getattr(stub, name)(request, metadata=(("authorization", f"Key {TOKEN}"),))
        assert answer.status.code == 10000, answer.status
        return answer

    return ask


def flower(kind: str, *, seed: int) -> Image.Image:
    """One flower before a sky."""
    random = np.random.default_rng(seed)
    width, height = [(640, 480), (480, 640), (600, 600)][seed % 3]
    top, bottom = random.integers([150, 190, 200], [225, 240, 250]), random.integers([60, 110, 60], [130, 180, 120])
    fade = np.linspace(0, 1, height)[:, None, None]
    image = Image.fromarray((top * (1 - fade) + bottom * fade).repeat(width, 1).astype("uint8"))
    draw = ImageDraw.Draw(image)
    x, y = int(random.integers(160, width - 160)), int(random.integers(150, height - 170))
    size = int(random.integers(70, 120))
    draw.line([x, y, x + int(random.integers(-30, 30)), height], fill=(40, 110, 50), width=12)
    petals, colour, heart = (
        (14, (205, 35, 65), (150, 20, 40)) if kind == "rose" else (6, (250, 245, 225), (240, 190, 60))
    )
    for petal in range(petals):
        angle = 2 * np.pi * petal / petals
        px, py, radius = x + size * 0.55 * np.cos(angle), y + size * 0.55 * np.sin(angle), size * 0.42
        shade = int(random.integers(0, 30))
        draw.ellipse([px - radius, py - radius, px + radius, py + radius], fill=tuple(c - shade for c in colour))
    draw.ellipse([x - size * 0.3, y - size * 0.3, x + size * 0.3, y + size * 0.3], fill=heart)
    return image
