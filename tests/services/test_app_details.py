"""Apps in detail: described, found, counted, and called by another id everywhere."""

from __future__ import annotations

import pytest

from lehr.errors import Duplicate, InvalidRequest, NotFound
from lehr.protocol import resources_pb2 as r
from lehr.protocol import service_pb2
from lehr.protocol.ids import AppRef
from lehr.services.app_details import AppDetails
from lehr.services.apps import Apps
from lehr.services.concepts import Concepts
from lehr.services.datasets import Datasets
from lehr.services.inputs import Inputs, Upload
from lehr.services.keys import Keys
from lehr.services.models import Models
from lehr.services.paging import Paging
from lehr.store import app_ids, tables, workflows
from lehr.store.versions import ModelVersionRef

PAGE = Paging(1, 100)


@pytest.fixture
def details(db, queue) -> AppDetails:
    return AppDetails(db=db, queue=queue, apps=Apps(db=db, queue=queue))


@pytest.fixture
def full(db, blobs, queue, ref) -> AppRef:
    """An app with one of most things."""
    upload = Upload(
        inputs=[r.Input(id="i", data=r.Data(text=r.Text(raw="hello"), concepts=[r.Concept(id="rose", value=1)]))]
    )
    Inputs(db=db, blobs=blobs, queue=queue).post(ref, "ana", upload)
    Datasets(db=db).create(ref, [r.Dataset(id="d")])
    Models(db=db, queue=queue).create(ref, [r.Model(id="m", model_type_id="visual-classifier")])
    Keys(db=db).create("ana", [r.Key(apps=[r.App(id="flowers")])])
    with db.write() as tx:
        node = r.WorkflowNode(id="n", model=r.Model(id="m", app_id="flowers", user_id="ana"))
        workflows.insert(tx, ref, [r.Workflow(id="w", app_id="flowers", user_id="ana", nodes=[node])])
    return ref


def test_what_is_said_of_an_app_is_changed_and_nothing_else(details, ref):
    [done] = details.describe(ref, [r.App(description="roses", notes="n")], "overwrite")
    assert (done.id, done.description, done.notes) == ("flowers", "roses", "n")
    for changes, words in (
        ([r.App(id="cars", description="x")], "One app is changed here, 'flowers'"),
        ([], "One app is changed here"),
        ([r.App(), r.App()], "One app is changed here"),
        ([r.App(default_workflow=r.Workflow(id="General"))], "default_workflow: use PatchApps"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            details.describe(ref, changes, "overwrite")


def test_apps_are_found_by_name(details):
    def found(name: str, page: Paging = PAGE) -> list[str]:
        return [app.id for app in details.search("ana", name, page)]

    assert found("") == found("*") == ["cars", "flowers"]
    assert found("FLOW*") == found("flowers") == ["flowers"]
    assert found("flow") == found("%") == []
    assert found("", Paging(2, 1)) == ["flowers"]
    assert details.search("eve", "", PAGE) == []


def test_an_app_is_counted(details, full, other_ref):
    counts = details.counts(full)
    assert (counts.inputs, counts.datasets, counts.models, counts.workflows) == (1, 1, 1, 1)
    assert details.counts(other_ref) == service_pb2.GetResourceCountsResponse()


def renamed(details, *pairs: tuple[str, str]) -> list[r.App]:
    return details.rename("ana", [service_pb2.IdUpdateSource(id=old, new_id=new) for old, new in pairs], "overwrite")


def test_an_app_gets_another_id_and_everything_in_it_says_so(db, queue, details, full):
    with db.write() as tx:
        queue.add(tx, "train", {}, "ana/flowers/m/v")
        queue.cancel(tx, "ana/flowers/m/v")
    [done] = renamed(details, ("flowers", "garden"))
    assert (done.id, done.user_id) == ("garden", "ana")
    new = AppRef("ana", "garden")
    with pytest.raises(NotFound):
        details.apps.get(full)
    assert Models(db=db, queue=queue).get(new, "m").app_id == "garden"
    assert Models(db=db, queue=queue).get(new, "m").model_version.app_id == "garden"
    assert Datasets(db=db).get(new, "d").app_id == "garden"
    assert Concepts(db=db).get(new, "rose").app_id == "garden"
    [key] = Keys(db=db).list_of("ana", PAGE)
    assert [app.id for app in key.apps] == ["garden"]
    with db.read() as tx:
        workflow = workflows.get(tx, new, "w")
        assert (workflow.app_id, workflow.nodes[0].model.app_id) == ("garden", "garden")
        assert queue.of_subject(tx, str(ModelVersionRef(new, "m", "v")))
    with db.read() as tx:
        for name in app_ids.MESSAGES:
            for (data,) in tx.execute(
                tables.METADATA.tables[name].select().with_only_columns(tables.METADATA.tables[name].c.message)
            ):
                assert b"flowers" not in data, name


def test_ids_that_cannot_be_given_to_apps_are_refused(db, queue, details, full, other_ref):
    for pairs, error, words in (
        ([("flowers", "cars")], Duplicate, "'cars' already exists"),
        ([("flowers", "a/b")], InvalidRequest, "'a/b' is not usable"),
        ([("nothing", "x")], NotFound, "no app 'nothing'"),
        ([("flowers", "x"), ("nothing", "y")], NotFound, "no app 'nothing'"),
        ([], InvalidRequest, "No app was named"),
    ):
        with pytest.raises(error, match=words):
            renamed(details, *pairs)
    with pytest.raises(InvalidRequest, match="use one of overwrite"):
        details.rename("ana", [service_pb2.IdUpdateSource(id="flowers", new_id="x")], "merge")
    with db.write() as tx:
        queue.add(tx, "train", {}, "ana/flowers/m/v")
        queue.add(tx, "train", {"base": "ana/flowers2/m/v"}, "ana/flowers2/m/v")
        queue.add(tx, "train", {"base": "ana/flowers/near/v"}, "ana/elsewhere/m/v")
    with pytest.raises(InvalidRequest, match=r"while 2 jobs in it are under way, or build on its models \(train\)"):
        renamed(details, ("flowers", "x"))
    assert details.apps.get(full).id == "flowers"
    with pytest.raises(NotFound):
        details.rename("eve", [service_pb2.IdUpdateSource(id="flowers", new_id="x")], "overwrite")


def test_every_table_below_an_app_is_known_to_a_new_id():
    below = {
        table.name
        for table in tables.METADATA.tables.values()
        if "message" in table.c and table.name not in ("users", "apps")
    }
    assert below == set(app_ids.MESSAGES), "a new table's messages may name their app: say there what they are"
