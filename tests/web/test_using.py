"""Using what was learned, with the browser alone: trying models, searching, drawing workflows, changing the base."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from clarifai_grpc.grpc.api import resources_pb2 as r
from lehr_server import TOKEN, Server, wait_until
from PIL import Image
from small_embedder import publish, write_embedder
from victims import Shelves
from web_browser import Browser, asking, flower, serious_faults

from lehr.protocol.ids import AppRef
from lehr.services.bundles import Bundles
from lehr.store.versions import ModelVersionRef
from lehr.web.drafts import Draft

APP = "/users/lehr/apps/photos"
OTHERS = 6
"""Drawn flowers beside the photos."""

LOADED_SECONDS = 600
"""The built-in models are made once per home, by a job that a busy machine takes minutes for."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.fixture(scope="module")
def photos() -> dict[str, Image.Image]:
    """Two photographs that come with scikit-learn: a pagoda by a lake, and a dahlia."""
    from sklearn.datasets import load_sample_images

    return dict(zip(("pagoda", "dahlia"), map(Image.fromarray, load_sample_images().images), strict=True))


@pytest.fixture(scope="module")
def files(photos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos, and what was cut out of one, as files to drop."""
    folder = tmp_path_factory.mktemp("photos")
    for name, image in photos.items():
        image.save(folder / f"{name}.jpg", quality=90)
    return folder


def labelled(name: str, image: Image.Image) -> r.Input:
    concepts = [r.Concept(id=name.partition("-")[0], value=1)]
    return r.Input(id=name, data=r.Data(image=r.Image(base64=jpeg(image)), concepts=concepts))


def is_loaded(ask) -> bool:
    """Whether everything of General answers."""
    try:
        ask("PostWorkflowResults", app_id="photos", workflow_id="General", inputs=[r.Input(id="pagoda")])
    except AssertionError as error:
        if "MODEL_LOADING" not in str(error):
            raise
        return False
    return True


@pytest.fixture(scope="module")
def filled(server: Server, photos):
    """An app on General with the photos and some flowers, indexed; and one of the same without any index."""
    ask = asking(server)
    for app, base in (("photos", "General"), ("bare", "Empty")):
        ask("PostApps", apps=[r.App(id=app, default_workflow_id=base)])
        pictures = {**photos, **{f"drawn-{n}": flower("rose", seed=n) for n in range(OTHERS)}}
        ask("PostInputs", app_id=app, inputs=[labelled(name, image) for name, image in pictures.items()])
        wait_until(lambda app=app: ask("GetInputCount", app_id=app).counts.processed == OTHERS + 2, 120)
    wait_until(lambda: is_loaded(ask), LOADED_SECONDS, "the built-in models")
    wait_until(lambda: ask("GetInputCount", app_id="photos").counts.reindexed == OTHERS + 2, 120, "the index")
    return server


@pytest.fixture
def browser(open_browser, filled) -> Browser:
    one = open_browser(filled)
    one.sign_in()
    return one


def drop(browser: Browser, file: Path) -> None:
    """Files come through the picker: a script cannot drop them, and both ways meet in one function."""
    browser.page.locator("input[type=file]").first.set_input_files(file)


# -- trying ------------------------------------------------------------------------------------------------------------


def test_general_names_a_photo_and_the_copied_calls_do_the_same(browser: Browser, files: Path, tmp_path: Path):
    page = browser.page
    browser.open(APP + "/try")
    drop(browser, files / "pagoda.jpg")
    page.get_by_text("Answered in").wait_for()
    first = page.locator(".lehr-output-bar").first
    assert "palace" in first.inner_text()
    browser.shoot("try")
    shown = page.locator(".lehr-output-bar").count()
    page.get_by_label("Least value shown").fill("0.2")
    assert 1 <= page.locator(".lehr-output-bar").count() < shown
    page.wait_for_url("**least=0.2*")
    page.reload()
    browser.shown()
    page.get_by_text("Answered in").wait_for()  # the browser kept the picture, the address says which
    assert "palace" in page.locator(".lehr-output-bar").first.inner_text()

    curl, python = (block.inner_text() for block in page.locator("pre.lehr-code").all())
    assert TOKEN not in page.content()
    (tmp_path / "picture.jpg").write_bytes((files / "pagoda.jpg").read_bytes())
    for command in (["sh", "-c", curl], [sys.executable, "-c", python]):
        environment = {**os.environ, "CLARIFAI_PAT": TOKEN}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert "palace" in done.stdout, done.stderr


def test_a_model_that_is_still_loading_is_asked_again_until_it_answers(browser: Browser, files: Path):
    """The first two answers are what a server says that loads; loading itself is over before anybody could look."""
    loading = {"status": {"code": 21355, "description": "Model is loading", "details": "Model is loading"}}
    page, asked = browser.page, []

    def answer(route) -> None:
        asked.append(route)
        if len(asked) < 3:
            route.fulfill(status=503, json=loading)
        else:
            route.fallback()

    page.route("**/outputs", answer)
    browser.open(APP + "/try")
    drop(browser, files / "dahlia.jpg")
    page.get_by_text("Model is loading Asked 2 times").wait_for()
    page.get_by_text("Answered in").wait_for()
    assert len(asked) == 3
    assert all("503" in each for each in browser.errors)
    browser.errors.clear()  # the browser's own words on those two answers


def test_a_workflow_is_tried_on_an_input_output_by_output(browser: Browser):
    page = browser.page
    browser.open(APP + "/try?with=workflow:General")
    page.get_by_role("button", name="Choose an input").click()
    page.get_by_role("dialog").get_by_role("link", name=re.compile("^dahlia")).click()
    page.wait_for_url("**input=dahlia*")
    page.get_by_text("Answered in").wait_for()
    page.get_by_role("button", name="general-v1.5-embed").click()
    page.get_by_text("An embedding of 1280 numbers").wait_for()
    page.get_by_role("button", name="general-v1.5-concept").click()
    assert page.locator(".lehr-output-bar").count() > 5
    assert '"id": "dahlia"' in page.locator("pre.lehr-code").first.inner_text()


def test_a_video_is_shown_frame_by_frame(browser: Browser, photos, tmp_path: Path):
    import numpy as np
    from films import film

    pictures = [np.asarray(photos[name].resize((176, 144))) for name in ("pagoda", "dahlia") for _ in range(20)]
    path = tmp_path / "film.webm"
    path.write_bytes(film(pictures, kind="WEBM"))
    page = browser.page
    browser.open(APP + "/try")
    drop(browser, path)
    page.get_by_text("Answered in").wait_for()
    ticks = page.get_by_role("listbox", name="Frames").get_by_role("option")
    assert ticks.count() == 4
    first = page.locator(".lehr-output-bar").first.inner_text()
    ticks.last.click()
    page.get_by_text("Frame 4 of 4").wait_for()
    assert page.locator(".lehr-output-bar").first.inner_text() != first
    wait_for = "document.querySelector('video').currentTime > 2"
    page.wait_for_function(wait_for)
    ticks.last.press("ArrowLeft")
    page.get_by_text("Frame 3 of 4").wait_for()
    browser.shoot("try-video")


# -- searching ---------------------------------------------------------------------------------------------------------


def hits(browser: Browser) -> list[str]:
    """Ids of what was found, in its order."""
    page = browser.page
    page.get_by_text(re.compile(r"^\d+ hits?$")).wait_for()
    tiles = page.locator(".lehr-tile").all()
    found = {int(tile.get_attribute("aria-posinset")): tile.locator("a").first.get_attribute("href") for tile in tiles}
    return [re.search(r"/inputs/([^?]+)", found[place])[1] for place in sorted(found)]


def test_a_dropped_picture_and_a_part_of_it_find_the_photo(browser: Browser, files: Path):
    page = browser.page
    browser.open(APP + "/search")
    with page.expect_navigation(url="**picture=*"):
        drop(browser, files / "dahlia.jpg")
    browser.shown()
    assert hits(browser)[0] == "dahlia"
    assert float(page.locator(".lehr-tile-score").first.inner_text()) > 0.99
    before = hits(browser)

    frame = page.locator(".lehr-boxes-layer").bounding_box()
    page.mouse.move(frame["x"] + 0.3 * frame["width"], frame["y"] + 0.2 * frame["height"])
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.5 * frame["width"], frame["y"] + 0.5 * frame["height"], steps=4)
    with page.expect_navigation(url="**box=*"):
        page.mouse.move(frame["x"] + 0.75 * frame["width"], frame["y"] + 0.85 * frame["height"], steps=4)
        page.mouse.up()
    browser.shown()
    assert hits(browser)[0] == "dahlia"
    assert float(page.locator(".lehr-tile-score").first.inner_text()) < 0.99  # a part is not the whole
    browser.shoot("search")
    page.reload()
    browser.shown()
    assert hits(browser)[0] == "dahlia"
    page.go_back()
    browser.shown()
    assert "box=" not in page.url
    assert hits(browser) == before


def test_more_like_a_hit_labels_and_saved_searches(browser: Browser):
    page = browser.page
    browser.open(APP + "/inputs/drawn-0")
    browser.follow(page.get_by_role("link", name="More like this"))
    assert hits(browser)[0] == "drawn-0"
    second = hits(browser)[1]
    page.locator(".lehr-tile").nth(1).hover()
    browser.follow(page.get_by_role("link", name=f"More like {second}"))
    assert hits(browser)[0] == second

    browser.open(APP + "/search?concept=pagoda")
    assert hits(browser) == ["pagoda"]
    assert page.locator(".lehr-tile-score").count() == 0
    page.get_by_role("button", name="Save this search").click()
    page.get_by_label("Name").fill("towers")
    with page.expect_navigation():
        page.get_by_role("button", name="Save", exact=True).click()
    browser.shown()
    browser.follow(page.get_by_role("link", name="towers"))
    assert hits(browser) == ["pagoda"]
    page.get_by_role("button", name="Delete the search towers").click()
    with page.expect_navigation():
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    browser.shown()
    assert page.get_by_role("link", name="towers").count() == 0


def test_an_app_without_an_index_offers_one(browser: Browser, filled: Server):
    page = browser.page
    browser.open("/users/lehr/apps/bare/search")
    page.get_by_text("This app has no index").wait_for()
    browser.shoot("search-without-index")
    with page.expect_navigation(url="**/index"):
        page.get_by_role("button", name="Index with General").click()
    browser.shown()
    page.get_by_text("complete", exact=True).wait_for(timeout=60_000)
    browser.open("/users/lehr/apps/bare/search?input=dahlia")
    assert hits(browser)[0] == "dahlia"


def test_clusters_and_near_duplicates_are_shown_with_their_pictures(browser: Browser, filled: Server, photos):
    ask = partial(asking(filled), app_id="photos")
    copy = r.Input(id="pagoda-again", data=r.Data(image=r.Image(base64=jpeg(photos["pagoda"].resize((600, 400))))))
    ask("PostInputs", inputs=[copy])
    wait_until(lambda: ask("GetInputCount").counts.reindexed == OTHERS + 3, 60, "the copy's embedding")
    page = browser.page
    browser.open(APP + "/clusters")
    page.get_by_role("button", name="Find clusters").click()
    page.get_by_role("dialog").get_by_label("Clusters").fill("3")
    page.get_by_role("dialog").get_by_role("button", name="Find", exact=True).click()
    page.get_by_text("Near-duplicates: 1").wait_for(timeout=60_000)
    browser.shoot("clusters")
    browser.follow(page.get_by_role("link", name="Open copy-0"))
    assert sorted(hits(browser)) == ["pagoda", "pagoda-again"]
    ask("DeleteInput", input_id="pagoda-again")


# -- workflows ---------------------------------------------------------------------------------------------------------


def add_node(browser: Browser, name: str, node_id: str) -> None:
    page = browser.page
    page.get_by_label("Add a node").fill(name)
    page.get_by_role("option", name=name).first.click()
    node(browser, node_id).wait_for()
    page.wait_for_function("document.querySelector('[aria-label=\"Add a node\"]').value === ''")  # ready for another


def node(browser: Browser, node_id: str):
    return browser.page.locator(f"[data-node-id='{node_id}']")


def drag_line(browser: Browser, source: str, target: str) -> None:
    page = browser.page
    port, box = node(browser, source).locator(".lehr-graph-port").bounding_box(), node(browser, target).bounding_box()
    page.mouse.move(port["x"] + port["width"] / 2, port["y"] + port["height"] / 2)
    page.mouse.down()
    page.mouse.move(port["x"] + 60, port["y"] + 30, steps=4)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=6)
    page.mouse.up()


def taken_by(node_id: str, url: str) -> tuple[str, ...]:
    """The nodes whose output it takes, in the draft that an address keeps."""
    draft = Draft.from_text(parse_qs(urlsplit(url).query).get("draft", [""])[0])
    return draft.get(node_id).inputs if draft else ()


def test_a_workflow_is_drawn_by_mouse_checked_saved_run_and_carried_as_yaml(browser: Browser, filled: Server):
    ask = partial(asking(filled), app_id="photos")
    page = browser.page
    browser.open(APP + "/workflows")
    page.get_by_role("button", name="New workflow").click()
    page.get_by_label("Name").fill("sure ones")
    with page.expect_navigation():
        page.get_by_role("button", name="Make workflow").click()
    browser.shown()
    add_node(browser, "Image Recognition", "general-image-recognition")
    add_node(browser, "Image Embedding", "general-image-embedding")
    add_node(browser, "Concept Thresholder", "concept-threshold")
    drag_line(browser, "general-image-embedding", "concept-threshold")
    page.locator(".lehr-finding-bad").get_by_text("takes concepts or regions.concepts").wait_for()
    assert "lehr-graph-bad" in node(browser, "concept-threshold").get_attribute("class")
    assert page.get_by_role("button", name="Save as a new version").is_disabled()
    browser.shoot("workflow-problem")
    line = page.get_by_role("button", name="Connection from general-image-embedding to concept-threshold")
    page.get_by_role("checkbox", name="general-image-embedding").click()  # takes the line away
    line.wait_for(state="detached")
    drag_line(browser, "general-image-recognition", "concept-threshold")
    page.wait_for_url(lambda url: taken_by("concept-threshold", url) == ("general-image-recognition",))
    page.get_by_text("It can run like this").wait_for()
    page.reload()  # what is drawn is in the address
    browser.shown()
    node(browser, "concept-threshold").click()
    page.get_by_label("threshold", exact=True).fill("0.1")
    page.get_by_label("threshold", exact=True).press("Enter")
    node(browser, "general-image-embedding").press("Delete")
    node(browser, "general-image-embedding").wait_for(state="detached")
    with page.expect_navigation():
        page.get_by_role("button", name="Save as a new version").click()
    browser.shown()
    browser.shoot("workflow")

    workflow = ask("GetWorkflow", workflow_id="sure-ones").workflow
    assert [(each.id, [before.node_id for before in each.node_inputs]) for each in workflow.nodes] == [
        ("general-image-recognition", []),
        ("concept-threshold", ["general-image-recognition"]),
    ]
    assert len(ask("ListWorkflowVersions", workflow_id="sure-ones").workflow_versions) == 2
    results = ask("PostWorkflowResults", workflow_id="sure-ones", inputs=[r.Input(id="pagoda")]).results
    assert [each.name for each in results[0].outputs[1].data.concepts] == ["palace", "bell cote"]

    with page.expect_download() as download:
        page.get_by_role("button", name="Export YAML").click()
    text = Path(download.value.path()).read_text()
    browser.open(APP + "/workflows")
    page.get_by_role("button", name="Import YAML").click()
    page.get_by_label("YAML", exact=True).fill(text.replace("sure-ones", "carried"))
    page.get_by_role("button", name="Read it").click()
    with page.expect_navigation():
        page.get_by_role("button", name="Make workflow").click()
    browser.shown()
    assert list(ask("GetWorkflow", workflow_id="carried").workflow.nodes) == list(workflow.nodes)


def test_a_workflow_is_drawn_by_keyboard_alone(browser: Browser, filled: Server):
    ask = partial(asking(filled), app_id="photos")
    ask("PostWorkflows", workflows=[r.Workflow(id="typed")])
    page = browser.page
    browser.open(APP + "/workflows/typed")
    for name in ("Image Embedding", "Image Recognition", "General Clustering"):
        field = page.get_by_label("Add a node")
        field.fill(name)
        page.get_by_role("option", name=name).first.wait_for()
        field.press("ArrowDown")
        field.press("Enter")
        page.locator("[data-node-id]").filter(has_text=re.compile("→")).first.wait_for()
        page.wait_for_timeout(300)
    node(browser, "general-image-embedding").press("c")
    node(browser, "general-clusterering").press("Enter")
    line = page.get_by_role("button", name="Connection from general-image-embedding to general-clusterering")
    line.wait_for(state="attached")
    line.press("Delete")
    line.wait_for(state="detached")
    node(browser, "general-image-embedding").press("c")
    node(browser, "general-clusterering").press("Enter")
    line.wait_for(state="attached")
    node(browser, "general-image-recognition").press("Delete")
    node(browser, "general-image-recognition").wait_for(state="detached")
    save = page.get_by_role("button", name="Save as a new version")
    with page.expect_navigation():
        save.press("Enter")
    browser.shown()
    nodes = ask("GetWorkflow", workflow_id="typed").workflow.nodes
    assert [(each.id, [before.node_id for before in each.node_inputs]) for each in nodes] == [
        ("general-image-embedding", []),
        ("general-clusterering", ["general-image-embedding"]),
    ]


# -- the base workflow -------------------------------------------------------------------------------------------------


@pytest.fixture
def colours(filled: Server, tmp_path: Path) -> str:
    """Another embedder in the app, by colours; trained elsewhere, in seconds."""
    shelves = Shelves(filled.home)
    bundles = Bundles(db=shelves.db, blobs=shelves.blobs, cache=tmp_path / "bundles")
    vref = ModelVersionRef(AppRef("lehr", "photos"), "by-colour", "v1")
    publish(shelves.db, bundles, write_embedder(tmp_path / "colours"), vref)
    shelves.close()
    return "by-colour"


def test_the_base_workflow_is_changed_watched_and_taken_back(browser: Browser, filled: Server, colours: str):
    ask = partial(asking(filled), app_id="photos")
    page = browser.page
    ask("PostWorkflows", workflows=[r.Workflow(id="colours")])
    browser.open(APP + "/workflows/colours")
    add_node(browser, colours, colours)
    with page.expect_navigation():
        page.get_by_role("button", name="Save as a new version").click()
    browser.shown()
    page.get_by_role("button", name="Make it the base").click()
    with page.expect_navigation(url="**/index"):
        page.get_by_role("button", name="Index by it").last.click()
    browser.shown()
    page.get_by_role("cell", name=re.compile("photos.by-colour")).wait_for()
    page.get_by_text("What the last change did to neighbours").wait_for(timeout=60_000)  # it came by itself
    rows = {row.locator("td").first.inner_text(): row.inner_text() for row in page.locator("tbody tr").all()}
    assert "answers searches" in rows["2"]
    assert "kept, can be taken back" in rows["1"]
    browser.shoot("index")
    browser.open(APP + "/search?input=drawn-1")
    assert hits(browser)[0] == "drawn-1"

    browser.open(APP + "/index")
    page.get_by_role("button", name="Take back").click()
    page.get_by_role("dialog").get_by_role("button", name="Take back").click()
    serving = page.get_by_role("row").filter(has_text="answers searches")
    serving.get_by_text("general-image-embedding").wait_for(timeout=60_000)
    assert ask("GetApp").app.default_workflow.id == "General"
    page.get_by_role("button", name="Drop generation 2").click()
    with page.expect_navigation():
        page.get_by_role("dialog").get_by_role("button", name="Drop").click()
    browser.shown()
    assert page.get_by_role("row").filter(has_text="by-colour").count() == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_filled_pages_have_no_serious_fault(filled: Server, open_browser, files: Path, dark: bool):
    browser = open_browser(filled, dark=dark)
    browser.sign_in()
    page = browser.page
    found = {}
    browser.open(APP + "/try")
    drop(browser, files / "pagoda.jpg")
    page.get_by_text("Answered in").wait_for()
    found["try"] = serious_faults(page)
    for path in ("/search?input=dahlia&box=0.1,0.1,0.9,0.9", "/workflows/General?node=general-v1.5-cluster", "/index"):
        browser.open(APP + path)
        page.wait_for_timeout(1500)
        found[path] = serious_faults(page)
        browser.shoot(f"filled{path.partition('?')[0].replace('/', '-')}{'-dark' if dark else ''}")
    assert {path: faults for path, faults in found.items() if faults} == {}
