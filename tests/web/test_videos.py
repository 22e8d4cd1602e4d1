"""Videos in the browser: the boxes of a frame lie over that frame, wherever the player is and however large."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from films import film
from lehr_server import Server, wait_until
from web_browser import Browser, asking, flower, serious_faults

APP = "/users/lehr/apps/films"


@pytest.fixture(scope="module")
def ask(server: Server):
    """The published client, in an app of its own."""
    asking(server)("PostApps", apps=[r.App(id="films")])
    return partial(asking(server), app_id="films")


@pytest.fixture
def browser(signed_in: Browser, ask) -> Browser:
    return signed_in


def drop(browser: Browser, file: Path) -> None:
    browser.page.locator("input[type=file]").first.set_input_files(file)


IN_PICTURE = """box => {
  const video = document.querySelector('video');
  const [frame, drawn] = [video.getBoundingClientRect(), box.getBoundingClientRect()];
  const scale = Math.min(frame.width / video.videoWidth, frame.height / video.videoHeight);
  const [width, height] = [video.videoWidth * scale, video.videoHeight * scale];
  const [x, y] = [frame.x + (frame.width - width) / 2, frame.y + (frame.height - height) / 2];
  const shares = [drawn.top - y, drawn.left - x, drawn.bottom - y, drawn.right - x];
  return shares.map((each, side) => each / (side % 2 ? width : height));
}"""
"""Top, left, bottom and right of a box, as shares of the video's picture as it is shown."""


def drawn_boxes(browser: Browser) -> list[list[float]]:
    return [box.evaluate(IN_PICTURE) for box in browser.page.locator(".lehr-boxes-layer .lehr-box").all()]


def quarters() -> list:
    corners = [(0, 0, 0.5, 0.5), (0, 0.5, 0.5, 1), (0.5, 0, 1, 0.5), (0.5, 0.5, 1, 1)]
    return [pytest.approx(each, abs=0.02) for each in corners]


def test_boxes_found_in_a_video_are_drawn_on_its_frames(browser: Browser, ask, tmp_path: Path):
    """A model that finds the four quarters of every frame: where boxes belong is known."""
    ask("PostModels", models=[r.Model(id="quarters", model_type_id="image-tiling-operator")])
    ask("PostModelVersions", model_id="quarters", model_versions=[r.ModelVersion()])
    node = r.WorkflowNode(id="quarters", model=r.Model(id="quarters", app_id="films", user_id="lehr"))
    ask("PostWorkflows", workflows=[r.Workflow(id="quarters", nodes=[node])])
    path = tmp_path / "film.webm"
    path.write_bytes(shot())
    page = browser.page
    browser.open(APP + "/try?with=workflow:quarters")
    drop(browser, path)
    page.get_by_text("Frame 1 of 4").wait_for()
    assert drawn_boxes(browser) == quarters()
    browser.shoot("try-video-boxes")
    for width in (700, 1280):
        page.set_viewport_size({"width": width, "height": 640})
        page.wait_for_timeout(200)
        assert drawn_boxes(browser) == quarters()
    page.get_by_role("listbox", name="Frames").get_by_role("option").last.click()
    page.get_by_text("Frame 4 of 4").wait_for()
    assert drawn_boxes(browser) == quarters()
    assert serious_faults(page) == []


def shot() -> bytes:
    """Four seconds of flowers: half rose, half lily."""
    halves = [np.asarray(flower(kind, seed=0).crop((0, 0, 640, 360))) for kind in ("rose", "lily")]
    return film([half for half in halves for _ in range(20)], kind="WEBM")


def boxed(milliseconds: int, corners: tuple[float, float, float, float], label: str) -> r.Annotation:
    top, left, bottom, right = corners
    box = r.BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right)
    region = r.Region(region_info=r.RegionInfo(bounding_box=box), data=r.Data(concepts=[r.Concept(id=label, value=1)]))
    frame = r.Frame(frame_info=r.FrameInfo(time=milliseconds), data=r.Data(regions=[region]))
    return r.Annotation(input_id="film", data=r.Data(frames=[frame]))


def test_annotated_boxes_are_drawn_on_the_frame_that_is_shown(browser: Browser, ask):
    ask("PostInputs", inputs=[r.Input(id="film", data=r.Data(video=r.Video(base64=shot())))])
    wait_until(lambda: ask("GetInput", input_id="film").input.status.code == 30000, 60, "the film")
    low, high = (0.2, 0.16, 0.64, 0.42), (0.2, 0.16, 0.95, 0.42)
    ask("PostAnnotations", annotations=[boxed(1000, low, "rose"), boxed(3000, high, "lily")])
    page = browser.page
    box = page.locator(".lehr-boxes-layer .lehr-box")
    browser.open(APP + "/inputs/film")
    page.wait_for_function("document.querySelector('video').readyState >= 2")
    assert box.count() == 0  # the film begins without any
    page.get_by_role("button", name="Show 3.00 seconds").click()
    box.get_by_text("lily").wait_for()
    assert drawn_boxes(browser) == [pytest.approx(high, abs=0.02)]
    browser.shoot("input-video")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(200)
    assert drawn_boxes(browser) == [pytest.approx(high, abs=0.02)]
    assert serious_faults(page) == []
    page.set_viewport_size({"width": 1280, "height": 800})
    page.evaluate("document.querySelector('video').currentTime = 2")  # as the player's own bar does
    box.wait_for(state="detached")
    page.get_by_role("button", name="Show 1.00 seconds").click()
    box.get_by_text("rose").wait_for()
    assert drawn_boxes(browser) == [pytest.approx(low, abs=0.02)]
    page.get_by_role("button", name="Delete the label at 1.00 seconds").click()
    box.wait_for(state="detached")
    browser.open(APP)
    page.locator(".lehr-card", has_text="Storage").get_by_text("in 2 files").wait_for()  # the film and its thumbnail
    browser.open("/")
    page.get_by_role("link", name="films").get_by_text(re.compile("^1 input")).wait_for()
    ask("DeleteInput", input_id="film")
