"""Evaluations from the training, or the order, to what the published client reads; with a model really trained."""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from lehr.api.calls import Call, Caller
from lehr.api.rpcs.evaluations import EvaluationRpcs
from lehr.errors import Duplicate, InvalidModel, InvalidRequest, ModelNotFound, NotFound, Untrained
from lehr.jobs.queue import Queue
from lehr.jobs.queue import State as JobState
from lehr.jobs.runs import perform
from lehr.learn.bundle import read_evaluation
from lehr.learn.data.decode import decode
from lehr.learn.detection.found import rows_of
from lehr.learn.items import Box, Item
from lehr.learn.metrics.classification import evaluation
from lehr.learn.metrics.mean_average_precision import ImageBoxes
from lehr.learn.predictor import Predictor
from lehr.protocol import resources_pb2 as r
from lehr.protocol import service_pb2, status_code_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.rpcs import RPCS
from lehr.protocol.statuses import status
from lehr.protocol.structs import from_struct, to_struct
from lehr.services import eval_metrics, evaluations, training
from lehr.services.bases import Bases
from lehr.services.bundles import Bundles
from lehr.services.evaluating import SEEN, Evaluating, _of_boxes
from lehr.services.evaluations import Evaluations
from lehr.services.models import Models
from lehr.services.paging import Paging
from lehr.services.training import Orders, Training
from lehr.serving.decoders import DecoderPool
from lehr.store import apps, concepts, datasets, inputs, users, versions
from lehr.store import evaluations as rows
from lehr.store.blobs import LocalBlobs
from lehr.store.db import Database
from lehr.store.inputs import NewInput
from lehr.store.versions import ModelVersionRef

APP, ELSEWHERE = AppRef("ana", "digits"), AppRef("ana", "elsewhere")
BASE = "http://lehr.example:8080"
EVERYTHING = r.FieldsValue(
    confusion_matrix=True, cooccurrence_matrix=True, label_counts=True, binary_metrics=True, test_set=True
)
NUM_TRAIN, NUM_FRESH = 120, 40
PAGE = Paging(1, 100)


@dataclass(frozen=True, kw_only=True)
class House:
    """A store with one trained version, and everything that evaluates."""

    db: Database
    blobs: LocalBlobs
    queue: Queue
    bundles: Bundles
    decoders: DecoderPool
    vref: ModelVersionRef

    @property
    def evaluations(self) -> Evaluations:
        return Evaluations(db=self.db, blobs=self.blobs, queue=self.queue)

    @property
    def evaluating(self) -> Evaluating:
        return Evaluating(db=self.db, blobs=self.blobs, queue=self.queue, bundles=self.bundles, decoders=self.decoders)

    def order(self, dataset_id: str = "", **fields) -> r.EvalMetrics:
        order = r.EvalMetrics(model=r.Model(id="m", model_version=r.ModelVersion(id=self.vref.version_id)), **fields)
        order.ground_truth_dataset.id = dataset_id
        return order

    def work(self) -> None:
        """Runs what is queued, as a worker's process would."""
        while job := self.queue.claim("test", kinds=[evaluations.KIND]):
            worker = self.evaluating
            perform(self.queue, job, worker.run, {evaluations.KIND: worker.failed})

    def evaluate(self, dataset_id: str = "") -> r.EvalMetrics:
        """Orders an evaluation, works, and returns what there is then."""
        [queued] = self.evaluations.request(APP, [self.order(dataset_id)])
        assert queued.status.code == status_code_pb2.MODEL_QUEUED_FOR_EVALUATION
        self.work()
        return self.evaluations.get(APP, queued.id, EVERYTHING, BASE)


def house(home: Path, decoders: DecoderPool, version_id: str = "v") -> House:
    db, blobs = Database(f"sqlite:///{home / 'lehr.db'}"), LocalBlobs(home / "blobs")
    bundles = Bundles(db=db, blobs=blobs, cache=home / "cache")
    vref = ModelVersionRef(APP, "m", version_id)
    return House(db=db, blobs=blobs, queue=Queue(db), bundles=bundles, decoders=decoders, vref=vref)


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    with DecoderPool(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def pattern(tmp_path_factory, decoders) -> Path:
    """A home in which one small training has been run by its real service."""
    home = tmp_path_factory.mktemp("pattern")
    one = house(home, decoders)
    one.db.upgrade()
    with one.db.write() as tx:
        users.insert(tx, r.User(id="ana"))
        for ref in (APP, ELSEWHERE):
            apps.insert(tx, r.App(id=ref.app_id, user_id="ana"))
            datasets.insert(tx, ref, [r.Dataset(id="train"), r.Dataset(id="fresh"), r.Dataset(id="empty")])
        add_digits(tx, one.blobs, "train", range(NUM_TRAIN))
        add_digits(tx, one.blobs, "fresh", range(NUM_TRAIN, NUM_TRAIN + NUM_FRESH))
    models = Models(db=one.db, queue=one.queue)
    models.create(APP, [r.Model(id="m", model_type_id="visual-classifier")])
    params = {"template": "classification_cifar10_v1", "dataset_id": "train", "num_epochs": 4, "batch_size": 16}
    params |= {"width_multiplier": 0.125, "logreg": 0, "seed": 0}
    version = r.ModelVersion(id="v", train_info=r.TrainInfo(params=to_struct(params)))
    orders = Orders(db=one.db, queue=one.queue, bases=Bases(db=one.db, bundles=one.bundles))
    orders.request(APP, "m", service_pb2.PostModelVersionsRequest(model_versions=[version]))
    fields = {name: getattr(one, name) for name in ("db", "blobs", "queue", "bundles", "decoders")}
    trainer = Training(**fields, packs=home / "packs")
    job = one.queue.claim("test", kinds=[training.KIND])
    trainer.run(job)
    one.db.close()
    return home


def add_digits(tx, blobs, dataset_id: str, indices) -> None:
    digits = load_digits()
    for index in indices:
        file = io.BytesIO()
        Image.fromarray((digits.images[index] * 15.9).astype(np.uint8)).save(file, "PNG")
        sha = blobs.put(file.getvalue())
        message = r.Input(id=f"i{index}", status=status(status_code_pb2.INPUT_DOWNLOAD_SUCCESS))
        message.data.image.hosted.suffix = sha
        message.data.image.image_info.height = message.data.image.image_info.width = 8
        inputs.insert(tx, APP, [NewInput(message=message, content_sha=sha)])
        label(tx, f"i{index}", f"d{digits.target[index] % 3}")
        datasets.add_inputs(tx, APP, dataset_id, [f"i{index}"])
    for digit in range(3):
        if concepts.get(tx, APP, f"d{digit}") is None:
            concepts.insert(tx, APP, [r.Concept(id=f"d{digit}", name=f"D{digit}")])


def label(tx, input_id: str, concept_id: str) -> None:
    from lehr.store import annotations

    note = r.Annotation(id=f"n-{input_id}", input_id=input_id, user_id="ana")
    note.data.concepts.add(id=concept_id, value=1)
    note.status.code = status_code_pb2.ANNOTATION_SUCCESS
    annotations.insert(tx, APP, [note])


@pytest.fixture
def home(pattern, tmp_path, decoders) -> Iterator[House]:
    shutil.copytree(pattern, tmp_path / "home")
    one = house(tmp_path / "home", decoders)
    yield one
    one.db.close()


def newest(home: House) -> r.EvalMetrics:
    return home.evaluations.list_of_version(home.vref, PAGE)[0]


# -- what a training leaves behind -------------------------------------------------------------------------------------


def test_a_training_leaves_an_evaluation_of_the_items_it_kept_back(home):
    first = newest(home)
    kept = read_evaluation(home.bundles.folder_of(home.vref))
    assert first.status.code == status_code_pb2.MODEL_EVALUATED
    assert first.summary.top1_accuracy == pytest.approx(kept.top1_accuracy)
    assert (first.ground_truth_dataset.id, first.ground_truth_dataset.app_id) == ("train", "digits")
    assert (first.model.id, first.model.model_version.id, first.model.user_id) == ("m", "v", "ana")
    with home.db.read() as tx:
        assert versions.get(tx, home.vref).metrics.id == first.id
    whole = home.evaluations.get(APP, first.id, EVERYTHING, BASE)
    assert [entry.input.id for entry in whole.test_set] == [row.item_id for row in kept.rows]
    assert {c.concept.id: c.count for c in whole.label_counts.positive_label_counts} == kept.label_counts
    thresholds = from_struct(whole.extended_metrics.user_metrics)[eval_metrics.THRESHOLDS]
    assert thresholds == pytest.approx(kept.thresholds)


def test_only_the_parts_that_are_asked_for_come(home):
    first = newest(home)
    bare = home.evaluations.get(APP, first.id, r.FieldsValue(), BASE)
    assert bare == first
    parts = [field.name for field in r.FieldsValue.DESCRIPTOR.fields]
    for part in parts:
        found = home.evaluations.get(APP, first.id, r.FieldsValue(**{part: True}), BASE)
        shown = {field.name for field, _ in found.ListFields()} & set(parts)
        assert shown == {part} - {"metrics_by_area", "metrics_by_class"}


def test_entries_of_the_test_set_list_every_concept_and_show_their_inputs_as_they_are_now(home):
    first = newest(home)
    before = home.evaluations.get(APP, first.id, r.FieldsValue(test_set=True), BASE).test_set
    gone = before[0].input.id
    with home.db.write() as tx:
        inputs.delete(tx, APP, [gone])
        concepts.update(tx, APP, [r.Concept(id="d1", name="One")])
    entries = home.evaluations.get(APP, first.id, r.FieldsValue(test_set=True), BASE).test_set
    assert entries[0].input == r.Input(id=gone)
    for entry in entries[1:]:
        image = entry.input.data.image
        assert image.url.startswith(f"{BASE}/hosted/orig/users/ana/apps/digits/")
        assert image.image_info.height == 8
    for entry in entries:
        values = [concept.value for concept in entry.predicted_concepts]
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1, abs=1e-3)
        assert {c.id: c.name for c in entry.predicted_concepts} == {"d0": "D0", "d1": "One", "d2": "D2"}
        assert [concept.value for concept in entry.ground_truth_concepts] == [1]


# -- what is ordered ---------------------------------------------------------------------------------------------------


def test_an_ordered_evaluation_measures_every_labelled_item_as_a_prediction_sees_it(home):
    found = home.evaluate("fresh")
    assert found.status.code == status_code_pb2.MODEL_EVALUATED
    assert found.status.details == ""
    predictor = Predictor.load(home.bundles.folder_of(home.vref))
    digits = load_digits().target
    ids = [f"i{index}" for index in range(NUM_TRAIN, NUM_TRAIN + NUM_FRESH)]
    with home.db.read() as tx:
        stored = inputs.stored(tx, APP, ids)
    files = [home.blobs.read(stored[input_id].content_sha) for input_id in ids]
    pixels = [decode(file, shorter_side=predictor.image_size).pixels for file in files]
    truth = np.array([[f"d{digits[int(i[1:])] % 3}" == concept for concept in predictor.concepts] for i in ids])
    expected = evaluation(predictor.concepts, ids, np.stack(predictor.predict(pixels)), truth)
    entries = {entry.input.id: entry for entry in found.test_set}
    assert sorted(entries) == sorted(ids)
    for row in expected.rows:
        assert tuple(concept.id for concept in entries[row.item_id].ground_truth_concepts) == row.truth
        values = {concept.id: concept.value for concept in entries[row.item_id].predicted_concepts}
        assert [values[concept] for concept in predictor.concepts] == pytest.approx(row.probabilities, abs=1e-5)
    assert found.summary.macro_avg_roc_auc == pytest.approx(expected.macro_roc_auc)
    assert found.summary.macro_avg_f1_score == pytest.approx(expected.macro_f1)
    assert newest(home).id == found.id


def test_an_evaluation_on_the_trainings_own_data_says_so(home):
    found = home.evaluate()
    assert found.ground_truth_dataset.id == "train"
    assert len(found.test_set) == NUM_TRAIN
    assert SEEN in found.status.details


def test_without_inputs_or_labels_of_the_model_the_status_says_what_is_missing(home):
    with home.db.write() as tx:
        datasets.insert(tx, APP, [r.Dataset(id="cars")])
        sha = home.blobs.put(b"not a picture")
        done = status(status_code_pb2.INPUT_DOWNLOAD_SUCCESS)
        inputs.insert(tx, APP, [NewInput(message=r.Input(id="car", status=done), content_sha=sha)])
        datasets.add_inputs(tx, APP, "cars", ["car"])
    empty, cars = home.evaluate("empty"), home.evaluate("cars")
    assert (empty.status.code, cars.status.code) == (21316, 21315)
    assert "add inputs" in empty.status.details
    assert "d0, d1, d2" in cars.status.details
    assert "none at all" in cars.status.details
    with home.db.write() as tx:
        label(tx, "car", "d1")
    broken = home.evaluate("cars")
    assert (broken.status.code, broken.test_set) == (21316, [])
    assert "could be decoded: car" in broken.status.details
    with home.db.write() as tx:
        datasets.add_inputs(tx, APP, "fresh", ["car"])
    partly = home.evaluate("fresh")
    assert partly.status.details == "1 items could not be decoded and are left out: car."
    assert len(partly.test_set) == NUM_FRESH


def test_an_interrupted_evaluation_begins_again_and_ends_well(home):
    [queued] = home.evaluations.request(APP, [home.order("fresh")])
    job = home.queue.claim("test", kinds=[evaluations.KIND])
    home.queue.interrupt(job)
    perform(home.queue, job, home.evaluating.run, {evaluations.KIND: home.evaluating.failed})
    assert newest(home).status.code == status_code_pb2.MODEL_EVALUATING
    home.work()
    assert home.evaluations.get(APP, queued.id, EVERYTHING, BASE).status.code == status_code_pb2.MODEL_EVALUATED


def test_a_run_that_lost_its_lease_changes_nothing(home):
    home.evaluations.request(APP, [home.order("fresh", id="mine")])
    lost = home.queue.claim("first", kinds=[evaluations.KIND], lease_seconds=0)
    later = home.queue.claim("second", job_id=lost.id)
    assert later.token > lost.token
    perform(home.queue, lost, home.evaluating.run, {evaluations.KIND: home.evaluating.failed})
    assert newest(home).status.code == status_code_pb2.MODEL_QUEUED_FOR_EVALUATION
    perform(home.queue, later, home.evaluating.run, {evaluations.KIND: home.evaluating.failed})
    assert newest(home).status.code == status_code_pb2.MODEL_EVALUATED


@pytest.mark.parametrize("what", ["version", "model"])
def test_deleting_what_is_evaluated_cancels_it(home, what):
    home.evaluations.request(APP, [home.order("fresh")])
    running = home.queue.claim("test", kinds=[evaluations.KIND])
    home.evaluations.request(APP, [home.order("fresh")])
    models = Models(db=home.db, queue=home.queue)
    models.delete(APP, ["m"]) if what == "model" else models.delete_version(APP, "m", "v")
    with home.db.read() as tx:
        assert home.queue.view(tx, running.id).state is JobState.CANCELLED
        assert home.queue.counts(tx)[JobState.QUEUED] == 0
    perform(home.queue, running, home.evaluating.run, {evaluations.KIND: home.evaluating.failed})
    with home.db.read() as tx:
        assert rows.of_version(tx, home.vref, page=1, per_page=9) == []


def test_an_id_is_used_again_once_its_evaluation_has_ended(home):
    home.evaluations.request(APP, [home.order("fresh", id="mine")])
    with pytest.raises(Duplicate, match="already exists and is not done yet"):
        home.evaluations.request(APP, [home.order("fresh", id="mine")])
    home.work()
    home.evaluations.request(APP, [home.order("train", id="mine")])
    assert newest(home).ground_truth_dataset.id == "train"
    home.work()
    assert len(home.evaluations.list_of_version(home.vref, PAGE)) == 2


def test_what_a_client_gives_along_comes_back(home):
    order = home.order("fresh")
    order.eval_info.params.update({"note": "x"})
    order.extended_metrics.user_metrics.update({"cost": 3})
    home.evaluations.request(APP, [order])
    home.work()
    found = newest(home)
    assert from_struct(found.eval_info.params) == {"note": "x"}
    assert from_struct(found.extended_metrics.user_metrics)["cost"] == 3
    assert from_struct(found.extended_metrics.user_metrics)[eval_metrics.FIGURES]["num_items"] == NUM_FRESH


def test_what_cannot_be_evaluated_is_refused_with_a_sentence(home):
    def refused(error, words, **changes):
        order = home.order("fresh")
        order.MergeFrom(r.EvalMetrics(**changes))
        with pytest.raises(error, match=words):
            home.evaluations.request(APP, [order])

    refused(InvalidRequest, "send the request to the model's app", model=r.Model(app_id="elsewhere"))
    refused(InvalidRequest, "send the request to the model's app", model=r.Model(user_id="bob"))
    refused(ModelNotFound, "no version 'w'", model=r.Model(model_version=r.ModelVersion(id="w")))
    refused(ModelNotFound, "no model 'n'", model=r.Model(id="n"))
    refused(NotFound, "no dataset 'nowhere'", ground_truth_dataset=r.Dataset(id="nowhere"))
    refused(NotFound, "no version 'x'", ground_truth_dataset=r.Dataset(version=r.DatasetVersion(id="x")))
    refused(NotFound, "no dataset 'fresh'", ground_truth_dataset=r.Dataset(user_id="bob"))
    refused(InvalidRequest, "predictions_dataset is not offered", predictions_dataset=r.Dataset(id="p"))
    refused(InvalidRequest, "Evaluation id", id="a/b")
    with pytest.raises(InvalidModel, match="name the model"):
        home.evaluations.request(APP, [r.EvalMetrics()])
    with pytest.raises(InvalidRequest, match="1 to 128"):
        home.evaluations.request(APP, [])
    Models(db=home.db, queue=home.queue).create(APP, [r.Model(id="raw", model_type_id="visual-classifier")])
    with pytest.raises(Untrained, match="no trained version"):
        home.evaluations.request(APP, [r.EvalMetrics(model=r.Model(id="raw"))])


def test_a_dataset_of_another_app_is_in_reach_of_a_token_but_not_of_an_apps_key(home):
    order = home.order("empty")
    order.ground_truth_dataset.app_id, order.ground_truth_dataset.user_id = "elsewhere", "me"
    with pytest.raises(NotFound, match="no dataset 'empty' in app 'elsewhere'"):
        home.evaluations.request(APP, [order], is_confined=True)
    [queued] = home.evaluations.request(APP, [order])
    assert (queued.ground_truth_dataset.user_id, queued.ground_truth_dataset.app_id) == ("ana", "elsewhere")


# -- a version's own metrics -------------------------------------------------------------------------------------------


def test_own_metrics_measured_anew_are_of_what_the_training_kept_back(home):
    first = newest(home)
    with home.db.write() as tx:  # a label was wrong
        from lehr.store import annotations

        wrong = home.evaluations.get(APP, first.id, EVERYTHING, BASE).test_set[0]
        note = annotations.get(tx, APP, wrong.input.id, f"n-{wrong.input.id}")
        note.data.concepts[0].id = wrong.predicted_concepts[0].id
        annotations.update(tx, APP, [note])
    queued = home.evaluations.request_metrics(home.vref, r.Search(), r.EvalInfo())
    assert queued.metrics.status.code == status_code_pb2.MODEL_QUEUED_FOR_EVALUATION
    home.work()
    version = home.evaluations.metrics_of(home.vref, r.FieldsValue(label_counts=True), BASE)
    assert version.metrics.id == newest(home).id != first.id
    total = sum(count.count for count in version.metrics.label_counts.positive_label_counts)
    assert total == read_evaluation(home.bundles.folder_of(home.vref)).num_items
    assert version.metrics.summary.top1_accuracy >= first.summary.top1_accuracy
    with home.db.read() as tx:
        assert versions.get(tx, home.vref).metrics.summary == version.metrics.summary


def test_own_metrics_may_be_of_what_a_search_selects(home):
    search = r.Search()
    search.query.filters.add().annotation.data.concepts.add(id="d0", value=1)
    home.evaluations.request_metrics(home.vref, search, r.EvalInfo())
    home.work()
    version = home.evaluations.metrics_of(home.vref, r.FieldsValue(label_counts=True), BASE)
    counts = {entry.concept.id: entry.count for entry in version.metrics.label_counts.positive_label_counts}
    assert counts["d0"] > 0
    assert counts["d1"] == counts["d2"] == 0


# -- as clients call and read ------------------------------------------------------------------------------------------


def test_every_rpc_answers_in_its_own_type(home):
    rpcs = EvaluationRpcs(evaluations=home.evaluations)
    call = Call(caller=Caller(user_id="ana", key_id="k"), app=APP, user_id="ana", base_url=BASE, req_id="r")
    model = {"id": "m", "model_version": {"id": "v"}}
    version = {"model_id": "m", "version_id": "v"}
    of_version = {"model_id": "m", "model_version_id": "v"}
    story = [
        ("PostEvaluations", {"eval_metrics": [{"id": "a", "model": model}]}),
        ("PostModelVersionEvaluations", {**of_version, "eval_metrics": [{"id": "b"}]}),
        ("GetEvaluation", {"evaluation_id": "a"}),
        ("ListEvaluations", {"sort_by_f1": True}),
        ("ListModelVersionEvaluations", {**of_version, "per_page": 2}),
        ("GetModelVersionEvaluation", {**of_version, "evaluation_id": "b"}),
        ("PostModelVersionMetrics", version),
        ("GetModelVersionMetrics", version),
    ]
    answers = {name: getattr(rpcs, name)(call, RPCS[name].request(**request)) for name, request in story}
    for name, answer in answers.items():
        assert isinstance(answer, RPCS[name].response), name
    assert [each.id for each in answers["ListModelVersionEvaluations"].eval_metrics] == ["b", "a"]
    assert answers["ListEvaluations"].eval_metrics[0].summary.macro_avg_f1_score > 0
    assert {name for name in dir(rpcs) if name in RPCS} == set(answers)
    anywhere = dataclasses.replace(call, app=None)
    assert len(rpcs.ListEvaluations(anywhere, service_pb2.ListEvaluationsRequest()).eval_metrics) == 4
    elsewhere = service_pb2.GetModelVersionEvaluationRequest(model_id="m", model_version_id="w", evaluation_id="a")
    with pytest.raises(NotFound, match="has no evaluation 'a'"):
        rpcs.GetModelVersionEvaluation(call, elsewhere)
    for concept_id, count in (("d0", 4), ("d7", 0)):
        listed = rpcs.ListEvaluations(call, service_pb2.ListEvaluationsRequest(concept_ids=[concept_id]))
        assert len(listed.eval_metrics) == count


def test_the_published_client_reads_test_sets_curves_and_matrices(home):
    pytest.importorskip("seaborn", reason="reading evaluations with the client needs: uv pip install pandas seaborn")
    from clarifai.utils.evaluation.helpers import ClassificationResultHandler
    from clarifai.utils.evaluation.testset_annotation_parser import parse_eval_annotation_classifier
    from clarifai_grpc.grpc.api import resources_pb2 as published

    def get_eval_by_id(eval_id, **fields):
        found = home.evaluations.get(APP, eval_id, r.FieldsValue(**fields), BASE)
        return published.EvalMetrics.FromString(found.SerializeToString())

    metrics = home.evaluate("fresh")
    y, y_pred, concept_ids, items = parse_eval_annotation_classifier(get_eval_by_id(metrics.id, test_set=True))
    assert (y.shape, y_pred.shape, concept_ids) == ((NUM_FRESH, 3), (NUM_FRESH, 3), ["d0", "d1", "d2"])
    assert len(items) == NUM_FRESH

    info = SimpleNamespace(id="m", app_id="digits", model_version=SimpleNamespace(id="v"))
    client = SimpleNamespace(model_info=info, get_eval_by_id=get_eval_by_id)
    bare = published.EvalMetrics.FromString(
        home.evaluations.get(APP, metrics.id, r.FieldsValue(), BASE).SerializeToString()
    )
    reader = ClassificationResultHandler(model=client, eval_data=[bare])
    table, total = reader.detailed_summary(confidence_threshold=0.5)
    is_found, is_true = y_pred >= 0.5, y > 0
    for column, counts in (
        ("Total Labeled", is_true),
        ("True Positives", is_found & is_true),
        ("False Negatives", ~is_found & is_true),
        ("False Positives", is_found & ~is_true),
    ):
        assert list(table[column]) == list(counts.sum(axis=0)), column
        assert total[column][0] == counts.sum()
    shares = reader.confusion_matrix().to_numpy()
    for actual in range(3):
        of_actual = [row for row, truth in zip(y_pred, y, strict=True) if truth[actual]]
        for predicted in range(3):
            taken = sum(row.argmax() == predicted for row in of_actual)
            assert shares[actual, predicted] == pytest.approx(taken / len(of_actual), abs=1e-3)
    for curve in (reader.pr_curve(), reader.roc_curve()):
        assert set(curve.concept) == {"d0", "d1", "d2", "macro_avg"}
        assert 0.5 in set(curve.threshold.round(2))


@pytest.mark.parametrize("num_positive", [3, 7, 10, 60, 997])
def test_counts_come_back_out_of_the_rates_of_a_roc_curve(num_positive):
    rates = [hits / num_positive for hits in range(num_positive + 1)]
    curve = eval_metrics._roc(SimpleNamespace(x=rates, y=rates, thresholds=()))
    assert [int(rate * num_positive) for rate in curve.tpr] == list(range(num_positive + 1))


def test_a_concept_without_positives_has_no_curves_that_would_spoil_a_mean():
    figures = evaluation(["a", "b"], ["x", "y"], np.array([[0.9, 0.1], [0.8, 0.3]]), np.array([[1, 0], [1, 0]]))
    there, absent = eval_metrics.bulky(figures).binary_metrics
    assert 0.5 in there.precision_recall_curve.thresholds
    assert 0.5 in there.roc_curve.thresholds
    assert not absent.HasField("roc_curve")
    assert not absent.HasField("precision_recall_curve")


def test_a_test_set_too_long_for_clients_is_listed_in_part_and_says_so(monkeypatch):
    ids = [f"x{number}" for number in range(100)]
    figures = evaluation(["a", "b"], ids, np.full((100, 2), 0.5), np.eye(2)[np.arange(100) % 2])
    monkeypatch.setattr(eval_metrics, "LISTED_BYTES", 10 * 1050)
    metrics = r.EvalMetrics()
    eval_metrics.describe(metrics, figures)
    kept = eval_metrics.unpacked(eval_metrics.pack(figures))
    assert (kept.test_set[0].input.id, kept.test_set[-1].input.id, len(kept.test_set)) == ("x0", "x99", 10)
    assert "lists 10 of 100 items" in metrics.status.details
    assert sum(count.count for count in kept.label_counts.positive_label_counts) == 100


def test_boxes_are_measured_in_pixels_of_the_pictures_as_they_were_sent():
    """A box of 50 x 50 pixels is a medium one, however small the network sees the picture."""
    box = Box(concept="disc", top=0.1, left=0.1, bottom=0.35, right=0.225)
    item = Item(id="a", sha256="a", read=bytes, positives=frozenset(), boxes=(box,))
    found_rows = rows_of(
        ImageBoxes(boxes=np.array([[40.0, 20, 90, 70]]), classes=np.zeros(1), scores=np.full(1, 0.9)), (200, 400)
    )

    class Run:
        notes, sizes = (), [(200, 400)]

        def predict(self, predictor, items):
            return items, found_rows[None]

    measured = _of_boxes(Run(), SimpleNamespace(concepts=("disc",), image_size=32), [item])
    halves = [each for each in measured.figures.entries if each.overlap == 0.5]
    found = {each.area.name: (each.num_true, each.average_precision) for each in halves}
    assert found == {"all": (1, 1.0), "small": (0, None), "medium": (1, 1.0), "large": (0, None)}
