"""Evaluations of model versions, on every database."""

from __future__ import annotations

import itertools

import pytest

from lehr.errors import Duplicate, InvalidRequest, ModelNotFound, NotFound
from lehr.protocol import resources_pb2, status_pb2
from lehr.protocol.ids import AppRef
from lehr.store import apps, evaluations, models, users, versions
from lehr.store.db import Database
from lehr.store.evaluations import MOVES, SORTS, EvaluationFilter, Order, State
from lehr.store.sweep import unreferenced
from lehr.store.versions import ModelVersionRef

APP, OTHER = AppRef("ann", "zoo"), AppRef("ann", "ark")
V1, V2 = ModelVersionRef(APP, "m", "v1"), ModelVersionRef(APP, "m", "v2")
THERE = ModelVersionRef(OTHER, "n", "v1")
NEWEST_FIRST = Order()


@pytest.fixture
def tx(db: Database):
    with db.write() as tx:
        users.insert(tx, resources_pb2.User(id="ann"))
        for ref, model_id, type_id in ((APP, "m", "visual-classifier"), (OTHER, "n", "visual-detector")):
            apps.insert(tx, resources_pb2.App(id=ref.app_id, user_id="ann"))
            models.insert(tx, ref, [resources_pb2.Model(id=model_id, model_type_id=type_id)])
        for vref in (V1, V2, THERE):
            trained = status_pb2.Status(code=versions.State.TRAINED.value)
            version = resources_pb2.ModelVersion(id=vref.version_id, status=trained)
            versions.insert(tx, vref.app, vref.model_id, version)
        yield tx


def _metrics(name: str, state: State = State.QUEUED, dataset: str = "", **summary: float) -> resources_pb2.EvalMetrics:
    return resources_pb2.EvalMetrics(
        id=name,
        status=status_pb2.Status(code=state.value),
        ground_truth_dataset=resources_pb2.Dataset(id=dataset),
        summary=resources_pb2.MetricsSummary(**summary),
    )


def _ids(tx, order: Order = NEWEST_FIRST, **filters) -> list[str]:
    found = evaluations.page(tx, APP, page=1, per_page=9, filters=EvaluationFilter(**filters), order=order)
    return [metrics.id for metrics in found]


def test_the_newest_evaluation_comes_first_and_ids_are_unique_in_their_app(tx) -> None:
    for name, vref in (("a", V1), ("b", V2), ("c", V1), ("a", THERE)):
        evaluations.insert(tx, vref, _metrics(name))
    assert [metrics.id for metrics in evaluations.of_version(tx, V1, page=1, per_page=9)] == ["c", "a"]
    assert [metrics.id for metrics in evaluations.of_version(tx, V1, page=2, per_page=1)] == ["a"]
    assert _ids(tx) == ["c", "b", "a"]
    of_user = evaluations.page_of_user(tx, "ann", page=1, per_page=9, filters=EvaluationFilter(), order=NEWEST_FIRST)
    assert [metrics.id for metrics in of_user] == ["a", "c", "b", "a"]
    with pytest.raises(Duplicate, match="'a'"):
        evaluations.insert(tx, V2, _metrics("a"))
    with pytest.raises(ModelNotFound, match="Model does not exist"):
        evaluations.insert(tx, ModelVersionRef(APP, "m", "gone"), _metrics("x"))


def test_evaluations_are_found_by_type_and_dataset_and_failed_ones_only_on_request(tx) -> None:
    evaluations.insert(tx, V1, _metrics("a", dataset="d"))
    evaluations.insert(tx, V1, _metrics("b", State.FAILED, dataset="e"))
    assert _ids(tx) == ["a"]
    assert _ids(tx, with_failed=True) == ["b", "a"]
    assert _ids(tx, with_failed=True, eval_dataset_ids=("e", "f")) == ["b"]
    assert _ids(tx, model_type_id="visual-classifier") == ["a"]
    assert _ids(tx, model_type_id="visual-detector") == []
    assert _ids(tx, train_dataset_ids=("d",)) == []


def test_evaluations_are_found_by_any_of_the_concepts_that_they_measure(tx) -> None:
    for name, concept_ids in (("a", ("cat", "dog", "cat")), ("b", ("dog",)), ("c", ())):
        evaluations.insert(tx, V1, _metrics(name), concept_ids=concept_ids)
    assert _ids(tx, concept_ids=("cat",)) == ["a"]
    assert _ids(tx, concept_ids=("dog", "bird")) == ["b", "a"]
    assert _ids(tx, concept_ids=("bird",)) == []
    assert evaluations.delete(tx, APP, ["a"]) == 1
    assert _ids(tx, concept_ids=("cat", "dog")) == ["b"]


@pytest.mark.parametrize("by", SORTS)
def test_every_order_has_a_column(tx, by: str) -> None:
    low = {"macro_avg_roc_auc": 0.1, "macro_avg_f1_score": 0.1, "macro_avg_precision": 0.1}
    high = {name: 0.9 for name in low}
    rest_low, rest_high = ({"macro_avg_recall": value, "mean_avg_precision_iou_50": value} for value in (0.1, 0.9))
    first, second = _metrics("a", dataset="d", **low, **rest_low), _metrics("b", dataset="e", **high, **rest_high)
    first.model.id, second.model.id = "m", "n"
    for metrics, trained_on in ((first, "r"), (second, "s")):
        metrics.model.model_version.train_info.dataset.id = trained_on
        evaluations.insert(tx, V1, metrics)
    assert _ids(tx, Order(by=by)) == ["b", "a"]
    assert _ids(tx, Order(by=by, is_ascending=True)) == (["b", "a"] if by == "app_id" else ["a", "b"])


def test_a_status_moves_as_the_table_says_and_in_no_other_way(tx) -> None:
    for number, (old, new) in enumerate(itertools.product(State, State)):
        evaluations.insert(tx, V1, _metrics(f"x{number}", old))
        if new is old or new in MOVES[old]:
            evaluations.update(tx, APP, _metrics(f"x{number}", new))
            assert evaluations.get(tx, APP, f"x{number}").status.code == new.value
        else:
            with pytest.raises(InvalidRequest, match=f"{old.name} and cannot become {new.name}"):
                evaluations.update(tx, APP, _metrics(f"x{number}", new))
    assert {evaluations.state_of(code) for code in (21310, 21315, 21316, 21317)} == {State.FAILED}
    with pytest.raises(InvalidRequest, match="30000"):
        evaluations.state_of(30000)
    with pytest.raises(NotFound, match="'gone'"):
        evaluations.update(tx, APP, _metrics("gone"))


def test_the_blob_of_the_details_is_named_as_long_as_the_version_is_there(tx) -> None:
    sha = "ab" * 32
    evaluations.insert(tx, V1, _metrics("a"))
    assert evaluations.details_sha(tx, APP, "a") == ""
    evaluations.set_details(tx, APP, "a", sha)
    evaluations.update(tx, APP, _metrics("a", State.EVALUATING))
    assert evaluations.details_sha(tx, APP, "a") == sha
    assert unreferenced(tx, [sha]) == []
    versions.delete(tx, V1)
    assert evaluations.get(tx, APP, "a") is None
    assert evaluations.details_sha(tx, APP, "a") == ""
    assert unreferenced(tx, [sha]) == [sha]


def test_deleting_names_its_evaluations(tx) -> None:
    evaluations.insert(tx, V1, _metrics("a"))
    assert evaluations.delete(tx, APP, []) == 0
    assert evaluations.delete(tx, APP, ["a", "gone"]) == 1
