"""What workflows ask of the store, on SQLite and PostgreSQL: labels, synonyms, other ids, built-in rows."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import insert, select

from lehr.jobs.queue import Queue
from lehr.protocol import resources_pb2 as r
from lehr.protocol import status_code_pb2
from lehr.protocol.ids import PUBLIC_APP, AppRef
from lehr.protocol.statuses import status
from lehr.services.built_in import BuiltIn
from lehr.store import annotations, apps, concepts, inputs, labelled, tables, users, workflows
from lehr.store.rows import app_key_of

APP = AppRef("ana", "flowers")


@pytest.fixture
def tx(db):
    with db.write() as tx:
        users.insert(tx, r.User(id=APP.user_id))
        apps.insert(tx, r.App(id=APP.app_id, user_id=APP.user_id, name=APP.app_id))
        yield tx


def test_a_workflow_called_by_another_id_keeps_its_versions(tx):
    workflows.insert(tx, APP, [r.Workflow(id="old")])
    for name in ("a", "b"):
        workflows.add_version(tx, APP, r.WorkflowVersion(id=name, workflow_id="old"))
    workflows.rename(tx, APP, "old", "new")
    assert workflows.get(tx, APP, "old") is None
    found = workflows.page_versions(tx, APP, "new", page=1, per_page=9)
    assert [(one.id, one.workflow_id) for one in found] == [("b", "new"), ("a", "new")]


def test_only_accepted_positive_labels_of_the_whole_or_of_parts_are_learnt_from(tx):
    inputs.insert(tx, APP, [inputs.NewInput(message=r.Input(id="x"))])

    def said(name, code, *, value=1.0, in_region=False):
        made = r.Annotation(id=name, input_id="x", user_id="ana")
        made.status.CopyFrom(status(code))
        data = made.data.regions.add(id="r").data if in_region else made.data
        data.concepts.add(id=name, value=value)
        return made

    good, awaiting = status_code_pb2.ANNOTATION_SUCCESS, status_code_pb2.ANNOTATION_PENDING
    told = [said("yes", good), said("no", good, value=0.0), said("later", awaiting), said("part", good, in_region=True)]
    annotations.insert(tx, APP, told)
    assert [one.concept_id for one in labelled.labels(tx, APP, [], of_regions=False)] == ["yes"]
    assert [one.concept_id for one in labelled.labels(tx, APP, [], of_regions=True)] == ["part"]
    assert labelled.labels(tx, APP, ["part"], of_regions=False) == []


def test_synonyms_are_followed_in_either_direction_and_by_graph(tx):
    concepts.insert(tx, APP, [r.Concept(id=name, name=name.title()) for name in ("cat", "felis", "puss", "dog")])
    keys = {row.id: row.key for row in tx.execute(select(tables.concepts.c.id, tables.concepts.c.key))}
    for number, (one, other, graph) in enumerate([("cat", "felis", ""), ("puss", "felis", "house")]):
        row = {"id": f"s{number}", "predicate": "synonym", "knowledge_graph_id": graph, "message": b""}
        ends = {"app_key": app_key_of(tx, APP), "subject_key": keys[one], "object_key": keys[other]}
        tx.execute(insert(tables.concept_relations).values(**row, **ends))
    found = labelled.related(tx, APP, "synonym", "")
    assert {name: sorted(each.id for each in group) for name, group in found.items()} == {
        "cat": ["felis"],
        "felis": ["cat", "puss"],
        "puss": ["felis"],
    }
    assert set(labelled.related(tx, APP, "synonym", "house")) == {"felis", "puss"}
    assert labelled.related(tx, APP, "hypernym", "") == {}


def test_two_servers_that_start_at_once_make_the_built_in_rows_once(db):
    problems: list[BaseException] = []

    def start():
        try:
            BuiltIn(db=db, queue=Queue(db)).ensure()
        except BaseException as error:
            problems.append(error)

    servers = [threading.Thread(target=start) for _ in range(2)]
    for server in servers:
        server.start()
    for server in servers:
        server.join()
    assert problems == []
    with db.read() as tx:
        assert workflows.count(tx, PUBLIC_APP) == 3
        assert concepts.count(tx, PUBLIC_APP) == 1000
