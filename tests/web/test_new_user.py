"""A new user, from an empty home to a frozen version of a labelled dataset, with the browser alone."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from clarifai_grpc.grpc.api import resources_pb2
from web_browser import Browser, asking

APP = "/users/lehr/apps/Garden"


def test_from_signing_in_to_a_frozen_version(own_server, open_browser, flowers: Path):
    server = own_server.start()
    ask = partial(asking(server), app_id="Garden")
    browser = open_browser(server)
    page = browser.page
    page.goto(server.base + "/")
    assert "/sign-in" in page.url
    browser.shoot("sign-in")
    browser.sign_in()
    browser.shoot("apps-empty")

    browser.make_first_app("Garden")
    browser.follow(browser.page.get_by_role("link", name="Inputs", exact=True))
    _drop(browser, flowers)
    _label_many(browser, "rose")
    _draw(browser, ask)
    _make_dataset(browser)
    _freeze(browser)

    page.go_back()
    browser.shown()
    versions = ask("ListDatasetVersions", dataset_id="flowers").dataset_versions
    assert [each.description for each in versions] == ["the first six"]
    frozen = ask("GetDatasetVersion", dataset_id="flowers", dataset_version_id=versions[0].id).dataset_version
    assert frozen.description == "the first six"


def _drop(browser: Browser, flowers: Path) -> None:
    """Files come through the picker: a script cannot drop them, and both ways meet in one function."""
    page = browser.page
    page.locator("input[type=file]").set_input_files(sorted(flowers.glob("*/*.jpg")))
    page.wait_for_selector(".lehr-tile-picture")
    page.wait_for_function("document.querySelectorAll('.lehr-tile-picture').length === 12")
    page.wait_for_function("[...document.querySelectorAll('.lehr-tile-picture')].every((each) => each.naturalWidth)")


def _label_many(browser: Browser, label: str) -> None:
    page = browser.page
    marks = page.get_by_role("checkbox", name=re.compile("Select rose"))
    for index in range(6):
        marks.nth(index).click()
    page.get_by_text("6 selected").wait_for()
    page.get_by_role("button", name="Label", exact=True).click()
    field = page.get_by_role("dialog").get_by_label("Concept")
    field.fill(label)
    field.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Label").click()
    page.wait_for_function("document.querySelectorAll('.lehr-tile-label').length === 6")
    browser.shoot("inputs")


def _draw(browser: Browser, ask) -> None:
    """Draws, moves, resizes and deletes, by mouse and by keyboard; what is stored is what is seen."""
    page = browser.page
    browser.follow(page.get_by_role("link", name=re.compile("^rose-")).first)
    input_id = page.url.partition("/inputs/")[2].partition("?")[0]
    field = page.get_by_label("New boxes are")
    field.fill("blossom")
    field.press("Enter")
    page.wait_for_url("**label=blossom*")
    frame = page.locator(".lehr-boxes-layer").bounding_box()

    def drag(start: tuple[float, float], end: tuple[float, float]) -> None:
        page.mouse.move(frame["x"] + start[0] * frame["width"], frame["y"] + start[1] * frame["height"])
        page.mouse.down()
        middle = [(a + b) / 2 for a, b in zip(start, end, strict=True)]
        for x, y in (middle, end):
            page.mouse.move(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"], steps=3)
        page.mouse.up()

    drag((0.2, 0.2), (0.6, 0.5))
    box = page.get_by_role("button", name=re.compile("^Box 1: blossom"))
    box.wait_for()
    assert _corners(ask, input_id) == [(0.2, 0.2, 0.5, 0.6)]
    drag((0.3, 0.3), (0.4, 0.4))  # its inside: moves it
    _until(browser, lambda: _corners(ask, input_id) == [(0.3, 0.3, 0.6, 0.7)])
    drag((0.7, 0.6), (0.8, 0.7))  # its corner: resizes it
    _until(browser, lambda: _corners(ask, input_id) == [(0.3, 0.3, 0.7, 0.8)])
    browser.shoot("boxes")
    box.focus()
    for _ in range(4):
        box.press("ArrowRight")
    _until(browser, lambda: _corners(ask, input_id) == [(0.3, 0.32, 0.7, 0.82)])
    page.locator("body").press("b")
    page.get_by_role("button", name=re.compile("^Box 2: blossom")).press("Delete")
    _until(browser, lambda: len(_corners(ask, input_id)) == 1)
    page.reload()
    browser.shown()
    page.get_by_role("button", name=re.compile("^Box 1: blossom")).wait_for()
    browser.follow(page.get_by_role("link", name="Next"))
    assert input_id not in page.url


def _corners(ask, input_id: str) -> list[tuple[float, ...]]:
    found = ask("ListAnnotations", input_ids=[input_id]).annotations
    boxes = [each.data.regions[0].region_info.bounding_box for each in found if each.data.regions]
    return [tuple(round(side, 2) for side in (b.top_row, b.left_col, b.bottom_row, b.right_col)) for b in boxes]


def _until(browser: Browser, claim) -> None:
    for _ in range(100):
        if claim():
            return
        browser.page.wait_for_timeout(50)
    raise AssertionError("it did not come about")


def _make_dataset(browser: Browser) -> None:
    page = browser.page
    browser.open(APP + "/inputs")
    marks = page.get_by_role("checkbox", name=re.compile("Select"))
    marks.nth(0).click()
    marks.nth(5).click(modifiers=["Shift"])
    page.get_by_text("6 selected").wait_for()
    page.get_by_role("button", name="Add to dataset").click()
    field = page.get_by_role("dialog").get_by_label("Dataset")
    field.fill("flowers")
    field.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Add").click()
    page.get_by_text("6 inputs put into flowers").wait_for()


def _freeze(browser: Browser) -> None:
    page = browser.page
    browser.follow(page.get_by_role("link", name="Datasets", exact=True))
    browser.follow(page.get_by_role("link", name="flowers"))
    page.get_by_text("readable pictures").wait_for()
    page.get_by_text(re.compile("have no label")).or_(
        page.get_by_text(re.compile("Under 10 examples"))
    ).first.wait_for()
    page.get_by_role("button", name="Freeze a version").click()
    page.get_by_label("What for?").fill("the first six")
    page.get_by_role("button", name="Freeze", exact=True).click()
    page.get_by_role("cell", name="the first six").wait_for()
    browser.shoot("dataset")


@pytest.mark.slow
def test_the_page_shows_the_same_after_a_restart(own_server, open_browser):
    own_server.start()
    browser = open_browser(own_server)
    browser.sign_in()
    page = browser.page
    browser.make_first_app("Stays")
    page.evaluate("window.isBefore = true")
    own_server.stop()
    own_server.start()
    page.wait_for_function("!window.isBefore && window.did_handshake === true")  # it comes back by itself
    browser.errors.clear()  # the socket said that it was cut off
    page.get_by_role("heading", name="Stays").wait_for()


def test_user_text_is_never_html(signed_in: Browser, ask_as):
    name = "<img src=x onerror=document.title='broken'><b>bold</b>{{7*7}}"
    ask_as("PostApps", apps=[resources_pb2.App(id="odd", name=name, description=name)])
    signed_in.open("/")
    signed_in.page.get_by_role("heading", name=name).wait_for()
    assert signed_in.page.title() == "Apps · Lehr"
    assert signed_in.page.locator("h2 b").count() == 0
    signed_in.open("/users/lehr/apps/odd/settings")
    assert signed_in.page.get_by_label("Name").input_value() == name
    ask_as("DeleteApp", app_id="odd")


def test_a_refusal_is_a_sentence_and_an_address_that_is_none_leads_on(signed_in: Browser, ask_as):
    ask_as("PostApps", apps=[resources_pb2.App(id="taken")])
    signed_in.open("/users/lehr/apps/none/inputs")
    signed_in.page.get_by_text("App 'none' does not exist").wait_for()
    signed_in.follow(signed_in.page.get_by_role("link", name="All apps").last)
    page = signed_in.page
    page.get_by_role("button", name=re.compile("app")).first.click()
    page.get_by_label("Name").fill("taken")
    page.get_by_role("button", name="Make app").click()
    page.locator(".q-notification").get_by_text("App 'taken' already exists.").wait_for()


def test_a_deleted_key_ends_its_sessions(signed_in: Browser, open_browser, server, ask_as):
    [key] = ask_as("PostKeys", keys=[resources_pb2.Key(type="personal_access_token", scopes=["All"])]).keys
    other = open_browser(server)
    other.sign_in(key.id)
    ask_as("DeleteKey", key_id=key.id)
    other.page.goto(server.base + "/account")
    assert "/sign-in?next=%2Faccount" in other.page.url
    signed_in.open("/account")
    signed_in.page.get_by_role("button", name="Sign out").click()
    signed_in.page.wait_for_url("**/sign-in")
    signed_in.page.goto(server.base + "/account")
    assert "/sign-in" in signed_in.page.url
