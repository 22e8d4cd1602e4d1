"""axe-core finds no serious fault on any page, in light and in dark, on a laptop and on a phone."""

from __future__ import annotations

import pytest
from clarifai_grpc.grpc.api import resources_pb2
from lehr_server import wait_until
from web_browser import serious_faults

from lehr.web.pages import PAGES

VALUES = {
    "user_id": "lehr",
    "app_id": "plain",
    "input_id": "rose",
    "workflow_id": "General",
    "dataset_id": "roses",
    "model_id": "kinds",
    "version_id": "first",
    "evaluation_id": "none",  # what is shown of one that is not there; test_learning.py looks at a real one
}


@pytest.fixture(scope="module")
def filled(server, flowers):
    """An app with one of everything."""
    from web_browser import asking

    ask = asking(server)
    picture = next(flowers.glob("rose/*.jpg")).read_bytes()
    ask("PostApps", apps=[resources_pb2.App(id="plain", name="Plain")])
    ask("PostDatasets", app_id="plain", datasets=[resources_pb2.Dataset(id="roses")])
    concepts = [resources_pb2.Concept(id="rose", name="Rose", value=1)]
    data = resources_pb2.Data(image=resources_pb2.Image(base64=picture), concepts=concepts)
    ask("PostInputs", app_id="plain", inputs=[resources_pb2.Input(id="rose", data=data, dataset_ids=["roses"])])
    box = resources_pb2.BoundingBox(top_row=0.2, left_col=0.2, bottom_row=0.6, right_col=0.6)
    region = resources_pb2.Region(
        region_info=resources_pb2.RegionInfo(bounding_box=box), data=resources_pb2.Data(concepts=concepts)
    )
    note = resources_pb2.Annotation(input_id="rose", data=resources_pb2.Data(regions=[region]))
    ask("PostAnnotations", app_id="plain", annotations=[note])
    ask(
        "PostDatasetVersions",
        app_id="plain",
        dataset_id="roses",
        dataset_versions=[resources_pb2.DatasetVersion(description="first")],
    )
    model = resources_pb2.Model(id="kinds", model_type_id="visual-classifier")
    model.model_version.id = "first"
    ask("PostModels", app_id="plain", models=[model])
    wait_until(lambda: ask("GetInput", app_id="plain", input_id="rose").input.status.code == 30000)
    return server


PATHS = sorted({page.path for page in PAGES})


@pytest.mark.parametrize("dark", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["light", "dark"])
def test_no_page_has_a_serious_fault(filled, open_browser, dark: bool):
    browser = open_browser(filled, dark=dark)
    browser.page.goto(filled.base + "/sign-in")
    found = {"/sign-in": serious_faults(browser.page)}
    browser.sign_in()
    for path in PATHS:
        browser.open(path.format(**VALUES))
        browser.page.wait_for_timeout(400)
        found[path] = serious_faults(browser.page)
        browser.shoot(f"{path.strip('/').replace('/', '-').format(**VALUES) or 'apps'}{'-dark' if dark else ''}")
    assert {path: faults for path, faults in found.items() if faults} == {}


def test_on_a_phone_nothing_is_wider_than_the_screen(filled, open_browser):
    browser = open_browser(filled, phone=True)
    browser.sign_in()
    for path in PATHS:
        browser.open(path.format(**VALUES))
        browser.page.wait_for_timeout(200)
        width = browser.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{path} is {width} pixels wide"
        browser.shoot(f"phone-{path.strip('/').replace('/', '-').format(**VALUES) or 'apps'}")
