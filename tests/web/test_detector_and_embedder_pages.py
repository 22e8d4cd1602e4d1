"""What detectors and embedders were measured to do, on the page: boxes over the truth, a map, neighbours.

The figures are real ones of boxes made here; the embedder is a real network that sees colours. Nothing is trained.
"""

from __future__ import annotations

import io
import re
from functools import partial

import numpy as np
import pytest
from clarifai_grpc.grpc.api import resources_pb2
from lehr_server import Server, wait_until
from PIL import Image
from small_embedder import publish, write_embedder
from web_browser import asking, serious_faults

from lehr.learn.metrics.detection import Measured, detector_evaluation
from lehr.learn.metrics.embedding import EmbeddingEvaluation, Found
from lehr.learn.metrics.mean_average_precision import ImageBoxes
from lehr.protocol import resources_pb2 as r
from lehr.protocol import status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.statuses import status
from lehr.services import eval_metrics
from lehr.services.bundles import Bundles
from lehr.services.evaluations import keep_first
from lehr.store import models, versions
from lehr.store.blobs import LocalBlobs
from lehr.store.db import Database
from lehr.store.versions import ModelVersionRef

REF = AppRef("lehr", "colours")
APP = "/users/lehr/apps/colours"
COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (50, 60, 210)}
NUM_EACH = 6


@pytest.fixture(scope="module")
def filled(server: Server, tmp_path_factory):
    """An app with pictures of three colours, an embedder of colours, and a detector's evaluation."""
    ask = partial(asking(server), app_id=REF.app_id)
    asking(server)("PostApps", apps=[resources_pb2.App(id=REF.app_id)])
    random = np.random.default_rng(0)
    inputs = []
    for name, colour in COLOURS.items():
        for number in range(NUM_EACH):
            pixels = np.clip(random.normal(colour, 12, (60, 80, 3)), 0, 255).astype("uint8")
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            data = resources_pb2.Data(image=resources_pb2.Image(base64=file.getvalue()))
            data.concepts.add(id=name, value=1)
            inputs.append(resources_pb2.Input(id=f"{name}{number}", data=data))
    ask("PostInputs", inputs=inputs)
    wait_until(lambda: ask("GetInputCount").counts.processed == len(inputs), what="reading the pictures")
    blobs = LocalBlobs(server.home / "blobs")
    db = Database(f"sqlite:///{server.home / 'lehr.db'}")
    bundles = Bundles(db=db, blobs=blobs, cache=tmp_path_factory.mktemp("cache"))
    folder = write_embedder(tmp_path_factory.mktemp("embedder") / "bundle")
    vref = publish(db, bundles, folder, ModelVersionRef(REF, "near", "first"))
    found = Found(num_queries=18, num_concepts=3, recall_at_1=1, recall_at_5=1, recall_at_10=1, map_at_r=1)
    _keep(db, blobs, vref, EmbeddingEvaluation(num_items=18, num_dimensions=48, known=found, unseen=None))
    _detector(db, blobs)
    db.close()
    return ask


def _detector(db: Database, blobs: LocalBlobs) -> None:
    vref = ModelVersionRef(REF, "find", "first")
    version = r.ModelVersion(id="first", status=status(status_code_pb2.MODEL_TRAINED))
    version.train_info.params["template"] = "Lehr_Lite"
    with db.write() as tx:
        models.insert(tx, REF, [r.Model(id="find", name="find", model_type_id="visual-detector")])
        versions.insert(tx, REF, "find", version)
    measured = [_measured("red0", is_found=True), _measured("red1", is_found=False), _measured("green0", is_found=True)]
    _keep(db, blobs, vref, detector_evaluation(("red", "green"), measured))


def _measured(item_id: str, *, is_found: bool) -> Measured:
    """One box of class 0 that is found, or one of class 1 far away from it."""
    truth = ImageBoxes(boxes=np.array([[10.0, 10, 40, 40]]), classes=np.array([0]))
    box, label = ([11.0, 10, 40, 41], 0) if is_found else ([50.0, 30, 75, 55], 1)
    found = ImageBoxes(boxes=np.array([box]), classes=np.array([label]), scores=np.array([0.8]))
    return Measured(item_id=item_id, size=(60, 80), truth=truth, found=found)


def _keep(db: Database, blobs: LocalBlobs, vref: ModelVersionRef, evaluation) -> None:
    sha = blobs.put(eval_metrics.pack(evaluation))
    with db.write() as tx:
        version = versions.get(tx, vref)
        version.train_info.params["template"] = "Lehr_Lite"
        keep_first(tx, vref, version, evaluation, sha)
        versions.update(tx, vref, version)


def _opened(browser, model_id: str) -> None:
    browser.open(f"{APP}/models/{model_id}/versions/first")
    browser.follow(browser.page.get_by_role("link", name="all inputs"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_boxes_are_drawn_over_the_truth_the_worst_image_first(filled, server, open_browser, dark):
    browser = open_browser(server, dark=dark)
    browser.sign_in()
    page = browser.page
    _opened(browser, "find")
    browser.follow(page.get_by_role("link", name="Mistakes"))
    page.get_by_text("1 of 3 images have mistakes: 1 box missed, 1 invented.").wait_for()
    pictures = page.locator("a.lehr-over")
    assert pictures.first.get_attribute("aria-label") == "Input red1: green false, red missed"
    box = pictures.nth(1).locator(".lehr-over-right")
    frame, drawn = pictures.nth(1).locator("img").bounding_box(), box.bounding_box()
    assert (drawn["x"] - frame["x"]) / frame["width"] == pytest.approx(11 / 80, abs=0.02)
    assert drawn["height"] / frame["height"] == pytest.approx(31 / 60, abs=0.02)
    browser.shoot(f"boxes-over-truth{'-dark' * dark}")
    slider = page.get_by_role("slider", name="Least score of a box that counts")
    slider.press("End")
    page.get_by_text("3 of 3 images have mistakes: 3 boxes missed, 0 invented.").wait_for()
    page.wait_for_url("**score=0.95*")
    assert serious_faults(page) == []
    for part in ("Concepts", "Curves"):
        browser.follow(page.get_by_role("link", name=part, exact=True))
        assert serious_faults(page) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_an_embedder_shows_where_it_puts_images_and_which_it_takes_for_like(filled, server, open_browser, dark):
    browser = open_browser(server, dark=dark)
    browser.sign_in()
    page = browser.page
    _opened(browser, "near")
    browser.follow(page.get_by_role("link", name="Map and neighbours"))
    page.get_by_text("18 images in two dimensions").wait_for(timeout=60_000)
    page.get_by_role("combobox", name="Image").fill("green2")
    page.get_by_role("option", name=re.compile("green2")).click()
    page.wait_for_url("**item=green2*")
    page.get_by_role("heading", name="Nearest to green2").wait_for()
    shown = [each.get_attribute("aria-label") for each in page.locator("a.lehr-shown").all()]
    assert len(shown) == 9
    assert all(label.startswith("Input green") for label in shown[:NUM_EACH])
    browser.shoot(f"map{'-dark' * dark}")
    assert serious_faults(page) == []
    page.reload()
    browser.shown()
    page.get_by_role("heading", name="Nearest to green2").wait_for(timeout=60_000)
