"""Models, their versions and what hangs on those, on every database."""

from __future__ import annotations

import itertools

import pytest

from lehr.errors import Duplicate, InvalidModel, LeaseLost, ModelNotFound
from lehr.protocol import resources_pb2, status_pb2
from lehr.protocol.ids import AppRef
from lehr.store import apps, bundles, checkpoints, logs, models, users, versions, workflows
from lehr.store.bundles import Bundle
from lehr.store.checkpoints import Checkpoint
from lehr.store.db import Database
from lehr.store.models import ModelFilter
from lehr.store.versions import MOVES, ModelVersionRef, State

APP = AppRef("ann", "zoo")
V1 = ModelVersionRef(APP, "m", "v1")


@pytest.fixture
def tx(db: Database):
    with db.write() as tx:
        users.insert(tx, resources_pb2.User(id="ann"))
        apps.insert(tx, resources_pb2.App(id="zoo", user_id="ann"))
        models.insert(tx, APP, [resources_pb2.Model(id="m", name="Mine", model_type_id="visual-classifier")])
        yield tx


def _version(name: str, state: State = State.UNTRAINED) -> resources_pb2.ModelVersion:
    return resources_pb2.ModelVersion(id=name, status=status_pb2.Status(code=state.value))


def test_the_last_modified_model_comes_first(tx) -> None:
    models.insert(tx, APP, [resources_pb2.Model(id="n"), resources_pb2.Model(id="o")])
    models.touch(tx, APP, "m")
    models.touch(tx, APP, "gone")
    assert [model.id for model in models.page(tx, APP, page=1, per_page=9)] == ["m", "o", "n"]
    assert [model.id for model in models.page_of_user(tx, "ann", page=1, per_page=2)] == ["m", "o"]
    assert models.count_of_user(tx, "bob") == 0


def test_models_are_found_by_type_name_words_and_training(tx) -> None:
    models.insert(tx, APP, [resources_pb2.Model(id="D_100%", model_type_id="visual-detector")])
    versions.insert(tx, APP, "D_100%", _version("v1", State.TRAINED))

    def found(**fields) -> list[str]:
        filters = ModelFilter(**fields)
        ids = [model.id for model in models.page(tx, APP, page=1, per_page=9, filters=filters)]
        assert models.count(tx, APP, filters) == len(ids)
        return ids

    assert found(model_type_id="visual-detector") == ["D_100%"]
    assert found(name="Mine") == ["m"]
    assert found(name="mine") == []
    assert found(query="MIN") == ["m"]
    assert found(query="d_1") == ["D_100%"]
    assert found(query="0%") == ["D_100%"]
    assert found(query="_") == ["D_100%"]
    assert found(trained_only=True) == ["D_100%"]


def test_the_latest_version_is_the_one_inserted_last(tx) -> None:
    for name, state in (("v1", State.TRAINED), ("v2", State.TRAINED), ("v3", State.UNTRAINED)):
        versions.insert(tx, APP, "m", _version(name, state))
    assert {key: version.id for key, version in versions.latest(tx, APP, ["m", "gone"]).items()} == {"m": "v3"}
    assert versions.latest_trained(tx, APP, ["m"])["m"].id == "v2"
    assert [version.id for version in versions.page(tx, APP, "m", page=1, per_page=9)] == ["v3", "v2", "v1"]
    assert [version.id for version in versions.page(tx, APP, "m", page=1, per_page=9, trained_only=True)] == [
        "v2",
        "v1",
    ]
    assert versions.count(tx, APP, "m") == 3
    with pytest.raises(Duplicate, match="'v1'"):
        versions.insert(tx, APP, "m", _version("v1"))
    with pytest.raises(ModelNotFound, match="Model does not exist"):
        versions.insert(tx, APP, "gone", _version("v1"))


def test_a_status_moves_as_the_table_says_and_in_no_other_way(tx) -> None:
    for number, (old, new) in enumerate(itertools.product(State, State)):
        ref = ModelVersionRef(APP, "m", f"x{number}")
        versions.insert(tx, APP, "m", _version(ref.version_id, old))
        if new is old or new in MOVES[old]:
            assert versions.set_status(tx, ref, status_pb2.Status(code=new.value)).status.code == new.value
        else:
            with pytest.raises(InvalidModel, match=f"{old.name} and cannot become {new.name}"):
                versions.set_status(tx, ref, status_pb2.Status(code=new.value))
            assert versions.get(tx, ref).status.code == old.value


def test_every_training_failure_code_is_one_state_and_others_are_refused(tx) -> None:
    assert {versions.state_of(code) for code in (21106, *range(21110, 21120))} == {State.FAILED}
    with pytest.raises(InvalidModel, match="30000"):
        versions.insert(tx, APP, "m", resources_pb2.ModelVersion(id="v1", status=status_pb2.Status(code=30000)))


def test_a_versions_name_survives_being_written_as_text() -> None:
    assert ModelVersionRef.parse(str(V1)) == V1


def test_a_log_is_read_on_from_the_last_line_seen(tx) -> None:
    versions.insert(tx, APP, "m", _version("v1"))
    versions.insert(tx, APP, "m", _version("v2"))
    assert logs.append(tx, V1, []) == 0
    logs.append(tx, V1, ["one", "nul \0 byte"])
    logs.append(tx, ModelVersionRef(APP, "m", "v2"), ["another's"])
    last = logs.append(tx, V1, ["three"])
    first = logs.read(tx, V1, limit=2)
    assert [line.text for line in first] == ["one", "nul \ufffd byte"]
    rest = logs.read(tx, V1, after=first[-1].seq)
    assert [(line.text, line.seq) for line in rest] == [("three", last)]
    assert logs.read(tx, V1, after=last) == []


def test_the_last_two_checkpoints_are_kept_and_the_others_let_go(tx) -> None:
    versions.insert(tx, APP, "m", _version("v1"))
    a, b, c = (letter * 64 for letter in "abc")
    assert checkpoints.add(tx, V1, Checkpoint(sha=a, step=10, token=1)) == []
    assert checkpoints.add(tx, V1, Checkpoint(sha=b, step=20, token=1)) == []
    assert checkpoints.add(tx, V1, Checkpoint(sha=c, step=30, token=2)) == [a]
    assert [(one.sha, one.step) for one in checkpoints.newest(tx, V1)] == [(c, 30), (b, 20)]
    assert checkpoints.add(tx, V1, Checkpoint(sha=c, step=40, token=2)) == [b], "a blob still pointed at is not let go"
    with pytest.raises(LeaseLost):
        checkpoints.add(tx, V1, Checkpoint(sha=a, step=50, token=1))
    assert set(checkpoints.delete(tx, V1)) == {c}
    assert checkpoints.newest(tx, V1) == []


def test_deleting_a_version_takes_all_that_hangs_on_it_along(tx) -> None:
    versions.insert(tx, APP, "m", _version("v1"))
    logs.append(tx, V1, ["line"])
    checkpoints.add(tx, V1, Checkpoint(sha="a" * 64, step=1, token=1))
    bundles.put(tx, V1, Bundle(sha="a" * 64, size=5))
    bundles.put(tx, V1, Bundle(sha="b" * 64, size=6))
    assert bundles.get(tx, V1) == Bundle(sha="b" * 64, size=6)
    assert versions.delete(tx, V1) == 1
    assert bundles.get(tx, V1) is None
    versions.insert(tx, APP, "m", _version("v1"))
    assert logs.read(tx, V1) == []
    assert checkpoints.newest(tx, V1) == []
    assert models.delete(tx, APP, ["m"]) == 1
    assert versions.get(tx, V1) is None


def test_workflows_and_their_versions_are_kept_apart(tx) -> None:
    workflows.insert(tx, APP, [resources_pb2.Workflow(id="w"), resources_pb2.Workflow(id="x")])
    for name in ("1", "2"):
        workflows.add_version(tx, APP, resources_pb2.WorkflowVersion(id=name, workflow_id="w"))
    assert [one.id for one in workflows.page(tx, APP, page=1, per_page=9)] == ["x", "w"]
    assert [one.id for one in workflows.page_versions(tx, APP, "w", page=1, per_page=9)] == ["2", "1"]
    workflows.update_version(tx, APP, resources_pb2.WorkflowVersion(id="1", workflow_id="w", description="first"))
    assert workflows.get_version(tx, APP, "w", "1").description == "first"
    assert workflows.get_version(tx, APP, "x", "1") is None
    assert workflows.delete_versions(tx, APP, "w", ["1", "gone"]) == 1
    assert workflows.delete(tx, APP, ["w"]) == 1
    assert workflows.count(tx, APP) == 1
