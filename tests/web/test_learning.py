"""From a dataset to a trained classifier seen live, judged and compared with another, with the browser alone."""

from __future__ import annotations

import io
import re
from functools import partial

import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from lehr_server import Server, wait_until
from PIL import Image
from sklearn.datasets import load_digits
from web_browser import Browser, asking, serious_faults

APP = "/users/lehr/apps/digits"
NUM_DIGITS = 150
TRAINED_MS = 240_000


def fill(server: Server):
    """An app with digits of three kinds, in a dataset; the first is there again, called another digit by mistake."""
    ask = partial(asking(server), app_id="digits")
    asking(server)("PostApps", apps=[r.App(id="digits")])
    ask("PostDatasets", datasets=[r.Dataset(id="three")])
    digits = load_digits(n_class=3)
    inputs = []
    for number in range(NUM_DIGITS):
        file = io.BytesIO()
        Image.fromarray((digits.images[number] * 15.9375).astype("uint8")).resize((32, 32)).save(file, "PNG")
        concepts = [r.Concept(id=f"digit-{digits.target[number]}", value=1)]
        data = r.Data(image=r.Image(base64=file.getvalue()), concepts=concepts)
        inputs.append(r.Input(id=f"digit{number:03d}", data=data, dataset_ids=["three"]))
    again = r.Input()
    again.CopyFrom(inputs[0])
    again.id = "again"
    again.data.concepts[0].id = "digit-1"
    inputs.append(again)
    ask("PostInputs", inputs=inputs[:100])
    ask("PostInputs", inputs=inputs[100:])
    wait_until(lambda: ask("GetInputCount").counts.processed == len(inputs), what="reading the digits")
    return ask


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_from_a_dataset_to_a_judged_and_compared_classifier(own_server, open_browser):
    server = own_server.start()
    ask = fill(server)
    browser = open_browser(server)
    browser.sign_in()
    _make_model(browser)
    _refuse_and_start(browser)
    _watch_with_interruptions(browser, server)
    _look_at_result(browser, ask)
    _judge(browser)
    _see_another_fail(browser)
    _train_another_and_compare(browser)
    _cancel_a_third(browser, ask)
    _look_everywhere(open_browser(server, dark=True), ask)
    _fits_a_phone(open_browser(server, phone=True), ask)


def _make_model(browser: Browser) -> None:
    page = browser.page
    browser.open(APP + "/models")
    browser.follow(page.get_by_role("link", name="Train the first model"))
    page.get_by_role("radio", name=re.compile("Visual Detector")).click()
    page.wait_for_url("**type=visual-detector*")
    page.reload()
    browser.shown()
    assert page.get_by_role("radio", name=re.compile("Visual Detector")).get_attribute("aria-checked") == "true"
    page.get_by_role("radio", name=re.compile("Visual Classifier")).click()
    assert serious_faults(page) == []
    page.get_by_label("Name").fill("which")
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/models/which/train")
    browser.shown()


def _refuse_and_start(browser: Browser) -> None:
    """Wrong values are refused as they are typed; all that is chosen outlives a reload."""
    page = browser.page
    with page.expect_event("load"):
        _choose(browser, "Dataset", "three")
    browser.shown()
    with page.expect_event("load"):
        page.get_by_role("radio", name=re.compile("classification_cifar10_v1")).click()
    browser.shown()
    assert "dataset=three" in page.url
    assert "template=classification_cifar10_v1" in page.url
    _fill(browser, "num_epochs", "9999")
    page.get_by_text("num_epochs is 9999; it must be from 1 to 200").wait_for()
    page.get_by_role("button", name="Start training").click()
    page.get_by_text("Some values cannot be used").wait_for()
    _fill(browser, "num_epochs", "ten")
    page.get_by_text("num_epochs is 'ten'; it must be a whole number").wait_for()
    page.get_by_text("All other settings").click()
    for name, value in (("num_epochs", "14"), ("batch_size", "16"), ("width_multiplier", "0.25")):
        _fill(browser, name, value)
        page.wait_for_url(f"**p.{name}={value}*")
    page.get_by_text("must be").wait_for(state="detached")
    browser.shoot("train")
    assert serious_faults(page) == []
    page.reload()
    browser.shown()
    assert page.get_by_label("num_epochs", exact=True).input_value() == "14"
    assert page.get_by_role("slider", name="num_epochs, slider").input_value() == "14"
    page.get_by_role("button", name="Estimate time and memory").click()
    page.get_by_text(re.compile(r"About .* on this machine\. Its steps take about \d+ MB")).wait_for(timeout=120_000)
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/versions/*")
    browser.shown()


def _watch_with_interruptions(browser: Browser, server: Server) -> None:
    """Curves, speed and log come by themselves, and are there again after a reload and after a restart."""
    page = browser.page
    page.get_by_text("items per second").first.wait_for(timeout=TRAINED_MS)
    page.get_by_role("img", name=re.compile("^Loss")).wait_for()
    page.get_by_role("heading", name="Early warnings").wait_for()
    assert page.get_by_role("progressbar").count() == 1
    page.reload()
    browser.shown()
    page.get_by_role("img", name=re.compile("^On the held-out part")).wait_for(timeout=TRAINED_MS)
    browser.shoot("training")
    server.stop()
    server.start()
    page.goto(page.url)
    browser.shown()
    browser.errors.clear()  # the socket said that it was cut off
    page.get_by_text("trained", exact=True).wait_for(timeout=TRAINED_MS)
    page.get_by_role("button", name="Export").wait_for()


def _look_at_result(browser: Browser, ask) -> None:
    page = browser.page
    version_id = page.url.rpartition("/")[2]
    version = ask("GetModelVersion", model_id="which", version_id=version_id).model_version
    accuracy = page.locator(".lehr-figure", has_text="Accuracy").locator(".lehr-figure-number").inner_text()
    assert accuracy == f"{version.metrics.summary.top1_accuracy:.3f}"
    page.reload()
    browser.shown()
    assert (
        "Going on from the checkpoint" in page.get_by_role("log").inner_text()
        or "epoch 14/14" in page.get_by_role("log").inner_text()
    )
    page.locator("summary", has_text="As a table").first.click()
    rows = page.get_by_role("table", name="Loss").locator("tbody tr")
    assert rows.count() == 14, "each epoch once, although the training was begun twice"
    browser.shoot("trained")
    assert serious_faults(page) == []
    warnings = page.locator(".lehr-card", has=page.get_by_role("heading", name="Early warnings"))
    warnings.get_by_text("2 items show nearly the same picture but carry different concepts").wait_for()
    pictures = warnings.get_by_role("link")
    assert {each.get_attribute("href").rpartition("/")[2] for each in pictures.all()} == {"digit000", "again"}
    page.get_by_role("button", name="Export").click()
    download = page.get_by_role("dialog").get_by_role("link", name=re.compile("Download"))
    download.wait_for(timeout=TRAINED_MS)
    with page.expect_download() as fetched:
        download.click()
    assert fetched.value.failure() is None
    page.get_by_role("button", name="Close").click()


def _judge(browser: Browser) -> None:
    """Every part of the evaluation that the training left; then another, on the dataset."""
    page = browser.page
    page.get_by_role("button", name="Evaluate on a dataset").click()
    page.get_by_role("dialog").get_by_role("combobox", name="Dataset").click()
    page.get_by_role("option", name="three").click()
    page.get_by_role("dialog").get_by_role("button", name="Evaluate", exact=True).click()
    done = page.get_by_role("table", name="Evaluations").locator("tr", has_text="seen before")
    done.wait_for(timeout=TRAINED_MS)
    browser.follow(done.get_by_role("link"))
    for part in ("Summary", "Concepts", "Confusion", "Curves", "Mistakes"):
        browser.follow(page.get_by_role("link", name=part, exact=True))
        assert serious_faults(page) == []
        browser.shoot(f"evaluation-{part.lower()}")
        if part == "Confusion":
            page.get_by_role("button", name=re.compile("^digit-1 taken for digit-1")).click()
            page.wait_for_url("**predicted=digit-1*")
            page.get_by_role("link", name=re.compile("^Input digit")).first.wait_for()
        elif part == "Curves":
            page.get_by_text(re.compile(r"\d+ of \d+ found")).wait_for()
            page.get_by_role("slider", name="Threshold").press("Home")
            page.get_by_text(re.compile(r"0\.000 threshold")).wait_for()
            page.wait_for_url("**threshold=0.00*")


def _see_another_fail(browser: Browser) -> None:
    """A training that fails says why."""
    page = browser.page
    browser.open(APP + "/models/which/train?template=classification_cifar10_v1&p.lrate=1e9&p.logreg=0&p.batch_size=16")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/versions/*")
    browser.shown()
    page.get_by_role("alert").get_by_text(re.compile("diverged")).wait_for(timeout=TRAINED_MS)
    page.get_by_role("link", name="Train anew").wait_for()
    page.get_by_role("heading", name="Early warnings").wait_for()
    assert serious_faults(page) == []
    page.get_by_role("link", name="Train anew").click()
    page.wait_for_url("**/train?*")
    browser.shown()
    shown = [page.get_by_label(name, exact=True).input_value() for name in ("lrate", "logreg", "batch_size")]
    assert shown == ["1000000000", "0", "16"]


def _train_another_and_compare(browser: Browser) -> None:
    page = browser.page
    query = "dataset=three&template=classification_cifar10_v1&p.num_epochs=3&p.width_multiplier=0.25&about=short"
    browser.open(f"{APP}/models/which/train?{query}")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/versions/*")
    browser.shown()
    page.get_by_text("trained", exact=True).wait_for(timeout=TRAINED_MS)
    browser.open(APP + "/models/which")
    for mark in page.get_by_role("row", name=re.compile("trained")).get_by_role("checkbox").all():
        mark.click()
    page.wait_for_url("**marked=*")
    assert serious_faults(page) == []
    page.get_by_role("button", name="Compare marked").click()
    page.wait_for_url("**/compare?v=*")
    browser.shown()
    page.get_by_role("img", name=re.compile("^Accuracy, held out")).wait_for()
    table = page.get_by_role("table", name="What they reached")
    assert table.get_by_role("row", name=re.compile("^Accuracy")).locator("td").count() == 3
    differing = page.get_by_role("table", name="Hyperparameters that differ")
    assert "14" in differing.get_by_role("row", name=re.compile("^num_epochs")).inner_text()
    browser.shoot("compare")
    assert serious_faults(page) == []


def _cancel_a_third(browser: Browser, ask) -> None:
    page = browser.page
    browser.open(f"{APP}/models/which/train?template=classification_cifar10_v1&p.num_epochs=200")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/versions/*")
    browser.shown()
    version_id = page.url.rpartition("/")[2]
    page.get_by_role("button", name="Cancel training").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel training").click()
    page.wait_for_url("**/models/which")
    browser.shown()
    assert version_id not in {each.id for each in ask("ListModelVersions", model_id="which").model_versions}


def _paths(ask) -> list[str]:
    """Of the pages of learning, with something on each."""
    versions = ask("ListModelVersions", model_id="which", trained_only=True).model_versions
    evaluation = ask("ListEvaluations").eval_metrics[0].id
    named = ",".join(f"which/{each.id}" for each in versions)
    parts = ("summary", "concepts", "confusion", "curves", "mistakes")
    return [
        "/models",
        "/train",
        "/models/which",
        "/models/which/train",
        f"/models/which/versions/{versions[0].id}",
        f"/compare?v={named}",
        *(f"/evaluations/{evaluation}?part={part}" for part in parts),
    ]


def _look_everywhere(browser: Browser, ask) -> None:
    browser.sign_in()
    found = {}
    for path in _paths(ask):
        browser.open(APP + path)
        browser.page.wait_for_timeout(300)
        found[path] = serious_faults(browser.page)
        browser.shoot("dark" + re.sub(r"\W+", "-", path)[:40])
    assert {path: faults for path, faults in found.items() if faults} == {}


def _fits_a_phone(browser: Browser, ask) -> None:
    browser.sign_in()
    for path in _paths(ask):
        browser.open(APP + path)
        browser.page.wait_for_timeout(300)
        width = browser.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{path} is {width} pixels wide"
        assert serious_faults(browser.page) == [], path
        browser.shoot("phone" + re.sub(r"\W+", "-", path)[:40])


def _choose(browser: Browser, label: str, option: str) -> None:
    browser.page.get_by_role("combobox", name=label).click()
    browser.page.get_by_role("option", name=option, exact=True).click()


def _fill(browser: Browser, name: str, value: str) -> None:
    browser.page.get_by_label(name, exact=True).fill(value)
