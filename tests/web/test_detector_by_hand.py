"""From an empty home to a trained detector whose finds lead to more like them, with the browser alone."""

from __future__ import annotations

import re
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from drawn_shapes import drawn
from lehr_server import wait_until
from web_browser import Browser, asking, serious_faults

from lehr.learn.items import Box, Item

APP = "/users/lehr/apps/Yard"
NUM_DRAWN = 40
READY_MS = 600_000
SETTINGS = {"image_size": 128, "batch_size": 4, "num_epochs": 50, "base_gradient_multiplier": 0}


def pictures(seed: int, number: int) -> list[Item]:
    """Pictures with a disc at least; the squares are there to be left alone."""
    return list(islice((item for item in drawn(3 * number, seed) if discs(item)), number))


def discs(item: Item) -> list[Box]:
    return [box for box in item.boxes if box.concept == "disc"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_from_an_empty_home_to_a_detector_whose_finds_are_searched_for(own_server, open_browser, tmp_path: Path):
    server = own_server.start()
    ask = partial(asking(server), app_id="Yard")
    browser = open_browser(server)
    browser.sign_in()
    browser.make_first_app("Yard")
    shown, unseen = pictures(0, NUM_DRAWN), pictures(7, 1)[0]
    _drop(browser, shown, tmp_path)
    _draw_all(browser, {item.id: item for item in shown})
    _freeze(browser)
    _train(browser)
    _judge(browser)
    found = _try(browser, unseen, tmp_path)
    wait_until(lambda: ask("GetInputCount").counts.reindexed == NUM_DRAWN, seconds=READY_MS / 1000, what="the index")
    _search(browser, found)


def _drop(browser: Browser, items: list[Item], folder: Path) -> None:
    page = browser.page
    browser.follow(page.get_by_role("link", name="Inputs", exact=True))
    files = [folder / f"{item.id}.png" for item in items]
    for item, file in zip(items, files, strict=True):
        file.write_bytes(item.read())
    page.locator("input[type=file]").set_input_files(files)
    page.get_by_text(f"{len(items)} inputs").first.wait_for()
    page.wait_for_selector(".lehr-tile-picture")


def _draw_all(browser: Browser, items: dict[str, Item]) -> None:
    """A box around every disc, picture after picture."""
    page = browser.page
    browser.open(APP + "/inputs")
    browser.follow(page.get_by_role("link", name=re.compile("^drawn")).first)
    field = page.get_by_label("New boxes are")
    field.fill("disc")
    field.press("Enter")
    page.wait_for_url("**label=disc*")
    for number in range(1, len(items) + 1):
        name = page.url.partition("/inputs/")[2].partition("?")[0]
        page.wait_for_function("document.querySelector('img.lehr-boxes-picture')?.naturalWidth")
        shapes = discs(next(item for item_id, item in items.items() if item_id in name))
        for count, shape in enumerate(shapes, 1):
            _drag(page, shape)
            page.get_by_role("button", name=re.compile(f"^Box {count}: disc")).wait_for()
        if number < len(items):
            browser.follow(page.get_by_role("link", name="Next"))


def _drag(page, box: Box) -> None:
    frame = page.locator(".lehr-boxes-layer").bounding_box()
    corners = ((box.left, box.top), ((box.left + box.right) / 2, (box.top + box.bottom) / 2), (box.right, box.bottom))
    places = [(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=3)
    page.mouse.up()


def _freeze(browser: Browser) -> None:
    page = browser.page
    browser.open(APP + "/inputs")
    page.get_by_role("button", name="Add these to a dataset").click()
    field = page.get_by_role("dialog").get_by_label("Dataset")
    field.fill("yard")
    field.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Add").click()
    page.get_by_text("All of them are in yard now").wait_for()
    browser.follow(page.get_by_role("link", name="Datasets", exact=True))
    browser.follow(page.get_by_role("link", name="yard", exact=True))
    page.get_by_role("button", name="Freeze a version").click()
    page.get_by_label("What for?").fill("discs")
    page.get_by_role("button", name="Freeze", exact=True).click()
    page.get_by_role("cell", name="discs").wait_for()


def _train(browser: Browser) -> None:
    page = browser.page
    browser.follow(page.get_by_role("link", name="Models", exact=True))
    browser.follow(page.get_by_role("link", name="Train the first model"))
    page.get_by_role("radio", name=re.compile("Visual Detector")).click()
    page.get_by_label("Name").fill("find-discs")
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/models/find-discs/train")
    browser.shown()
    with page.expect_event("load"):
        page.get_by_role("combobox", name="Dataset").click()
        page.get_by_role("option", name="yard", exact=True).click()
    browser.shown()
    for name, value in SETTINGS.items():
        page.get_by_label(name, exact=True).fill(str(value))
        page.wait_for_url(f"**p.{name}={value}*")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/versions/*")
    browser.shown()
    page.get_by_text("trained", exact=True).wait_for(timeout=READY_MS)


def _judge(browser: Browser) -> None:
    page = browser.page
    browser.follow(page.get_by_role("table", name="Evaluations").get_by_role("link").first)
    browser.follow(page.get_by_role("link", name="Mistakes"))
    page.get_by_text(re.compile(r"\d+ of \d+ images have mistakes")).wait_for()
    page.locator("a.lehr-over .lehr-over-right").first.wait_for()
    browser.shoot("detector-mistakes")


def _try(browser: Browser, item: Item, folder: Path) -> str:
    """Every disc of a picture it never saw is found; answers where the way from the first to more like it leads."""
    page = browser.page
    file = folder / "unseen.png"
    file.write_bytes(item.read())
    browser.open(APP + "/try?with=model:find-discs&least=0.5")
    page.locator("input[type=file]").first.set_input_files(file)
    page.get_by_text("Answered in").wait_for(timeout=60_000)
    regions = page.get_by_role("group", name=re.compile("^Region"))
    browser.shoot("try-detector")
    assert regions.count() == len(discs(item))
    assert serious_faults(page) == []
    return page.get_by_role("link", name=re.compile("^More like region")).first.get_attribute("href")


def _search(browser: Browser, href: str) -> None:
    """What the detector found in a new picture leads to the boxes that were drawn around the like of it."""
    page = browser.page
    page.get_by_role("link", name=re.compile("^More like region")).first.click()
    page.wait_for_url("**" + href)
    browser.shown()
    page.locator(".lehr-tile-score").first.wait_for()
    browser.open(href + "&among=annotations")
    tiles = page.locator(".lehr-tile")
    tiles.first.locator(".lehr-tile-box").wait_for()
    assert float(tiles.first.locator(".lehr-tile-score").inner_text()) > 0.85
    browser.shoot("search-detected")
    assert serious_faults(page) == []
