"""How long a training would take: asked before it is ordered, measured here, refused as an order would be."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from films import BLUE, RED, colours

from lehr.compose import probe
from lehr.errors import Busy, InvalidModel, InvalidParams, LehrError, NotFound, NoTrainingData, TrainingStopped
from lehr.learn import device, gpu_turns
from lehr.learn.device import Device
from lehr.learn.pace import Pace
from lehr.protocol import resources_pb2 as r
from lehr.protocol import service_pb2
from lehr.protocol.structs import to_struct
from lehr.services.estimates import Estimates
from lehr.services.probes import ProbeOrder, Probes
from lehr.serving.decoders import DecoderPool
from lehr.settings import Settings
from lehr.store import annotations, inputs, models
from lehr.store.inputs import NewInput

PACE = {
    "step_seconds": 0.5,
    "item_seconds": 0.25,
    "prepare_seconds": 3,
    "feature_seconds": 0,
    "judge_seconds": 0.5,
    "evaluate_seconds": 1.0,
    "write_seconds": 5,
    "decode_seconds": 0.02,
    "peak_bytes": 1,
    "item_bytes": 0,
    "fixed_bytes": 0,
    "is_on_gpu": False,
    "solve_seconds": 0,
    "start_seconds": 0,
}
ORDER = ProbeOrder(
    model_type="visual-classifier", template="classification_cifar10_v1", params={}, concepts=("a", "b"), num_items=80
)


def answering(tmp_path: Path, answer: dict | None, **kwargs) -> Probes:
    """Probes whose child writes down that it was asked and says `answer`, or sleeps."""
    script = "import sys, time; open(sys.argv[2], 'a').write(sys.stdin.read() + '\\n')\n"
    script += "print(sys.argv[1])" if answer is not None else "time.sleep(60)"
    command = [sys.executable, "-c", script, json.dumps(answer), str(tmp_path / "asked")]
    return Probes(command=command, folder=tmp_path / "probes", **kwargs)


def asked(tmp_path: Path) -> list[ProbeOrder]:
    return [ProbeOrder.from_json(line) for line in (tmp_path / "asked").read_text().splitlines()]


@pytest.fixture
def estimates(db, blobs, bases, ref):
    with db.write() as tx:
        concepts = [r.Concept(id=name, value=1) for name in ("a", "b")]
        models.insert(
            tx,
            ref,
            [
                r.Model(
                    id="m",
                    model_type_id="visual-classifier",
                    train_info=r.TrainInfo(params=to_struct({"template": "classification_cifar10_v1"})),
                    output_info=r.OutputInfo(data=r.Data(concepts=concepts)),
                )
            ],
        )
    with DecoderPool(1) as decoders:
        yield lambda probes: Estimates(db=db, blobs=blobs, bases=bases, decoders=decoders, probes=probes)


def ask(*params: dict, count: int = 100, **info) -> service_pb2.PostModelVersionsTrainingTimeEstimateRequest:
    versions = [r.ModelVersion(train_info=r.TrainInfo(params=to_struct(one), **info)) for one in params]
    return service_pb2.PostModelVersionsTrainingTimeEstimateRequest(
        model_versions=versions, estimated_input_count=count
    )


def test_an_estimate_counts_steps_epochs_and_evaluations_of_every_version_asked_about(estimates, ref, tmp_path):
    probes = answering(tmp_path, {"pace": PACE, "seconds": 0})
    two = ask({"num_epochs": 2, "batch_size": 40, "test_freq": 0}, {"num_epochs": 10, "batch_size": 40, "test_freq": 0})
    forecasts = estimates(probes).estimate(ref, "m", two)
    short, long = (forecast.duration for forecast in forecasts)
    assert {forecast.peak_bytes for forecast in forecasts} == {PACE["peak_bytes"]}
    # an epoch: two steps of 40 of the 80 that train; 20 held out, seen once between and once after the epochs
    assert long.seconds - short.seconds == 8 * (2 * 0.5 + 80 * 0.25)
    assert short.seconds == pytest.approx(3 + 2 * 21 + 20 * 1.5 + 5 + 100 * 0.01, abs=3)
    assert len(asked(tmp_path)) == 1, "epochs do not change the pace"
    assert asked(tmp_path)[0].num_items == 80


def test_what_was_measured_is_known_until_something_that_matters_changes(tmp_path):
    probes = answering(tmp_path, {"pace": PACE, "seconds": 0})
    for params in ({"batch_size": 8}, {"batch_size": 8, "num_epochs": 3, "lrate": 0.1}, {"batch_size": 16}):
        probes.pace(ProbeOrder(**{**vars(ORDER), "params": params}))
    assert [order.params["batch_size"] for order in asked(tmp_path)] == [8, 16]
    next(probes.folder.glob("*.json")).write_text("{")
    assert isinstance(probes.pace(ProbeOrder(**{**vars(ORDER), "params": {"batch_size": 8}})), Pace)


def test_a_known_pace_holds_only_while_there_is_memory_for_its_steps(tmp_path):
    free = {"bytes": 2000}
    pace = {**PACE, "item_bytes": 100, "fixed_bytes": 200, "is_on_gpu": True}
    answer = {"pace": pace, "seconds": 0}
    probes = answering(tmp_path, answer, free_bytes=lambda *, is_on_gpu: free["bytes"] if is_on_gpu else 0)
    order = ProbeOrder(**{**vars(ORDER), "batch_size": 16})
    for _ in range(2):
        probes.pace(order)
    assert len(asked(tmp_path)) == 1
    free["bytes"] = 1999  # nine tenths of it are usable, and the step takes 1800
    refused = {"refused": {"code": 21106, "http_status": 500, "details": "set batch_size to 15 or less."}}
    with pytest.raises(LehrError, match="batch_size to 15"):
        replace(probes, command=answering(tmp_path, refused).command).pace(order)
    busy = {"refused": {"code": Busy.code, "http_status": 503, "details": "a training computes on this GPU."}}
    while_training = replace(probes, command=answering(tmp_path, busy).command)
    assert while_training.pace(order).item_bytes == 100, (
        "its memory will be free again: better than no answer for hours"
    )
    with pytest.raises(LehrError, match="a training computes"):
        while_training.pace(replace(order, batch_size=8, params={"batch_size": 8}))
    free["bytes"] = 2000
    assert probes.pace(order) == Pace.from_json(json.loads(next(probes.folder.glob("*.json")).read_text()))
    assert len(asked(tmp_path)) == 4


def test_a_pace_of_few_items_says_nothing_of_the_full_batch(estimates, ref, tmp_path):
    made = estimates(answering(tmp_path, {"pace": PACE, "seconds": 0}))
    for count in (10, 5000, 50_000):
        made.estimate(ref, "m", ask({"batch_size": 64}, count=count))
    made.estimate(ref, "m", ask({"batch_size": 64, "num_items_per_epoch": 20}, count=5000))
    assert [order.batch_size for order in asked(tmp_path)] == [8, 64, 20]


def test_a_head_that_is_solved_takes_longer_with_every_item(db, estimates, ref, tmp_path):
    with db.write() as tx:
        models.insert(tx, ref, [r.Model(id="kinds", model_type_id="embedding-classifier")])
    pace = {**PACE, "feature_seconds": 0.01, "solve_seconds": 0.002, "judge_seconds": 0, "evaluate_seconds": 0.001}
    made = estimates(answering(tmp_path, {"pace": pace, "seconds": 0}))
    few, many = (made.estimate(ref, "kinds", ask({}, count=count))[0].duration for count in (1000, 100_000))
    decoding = 0.02 / min(2, os.cpu_count() or 1)
    # each picture is decoded and embedded; four of five are solved for, the fifth is evaluated; nothing is stepped over
    each = decoding + 0.01 + 0.8 * 0.002 + 0.2 * 0.001
    assert many.seconds - few.seconds == pytest.approx(99_000 * each, abs=2)
    assert few.seconds == pytest.approx(8 + 0.75 + 1000 * each, abs=2)
    assert len(asked(tmp_path)) == 1
    assert asked(tmp_path)[0].batch_size == 1


def test_all_problems_of_all_versions_are_told_at_once(estimates, ref, tmp_path):
    wrong = ask({"batch_size": 0, "num_epochs": 999}, {"template": "Lehr_Lite"}, {"image_size": 31})
    with pytest.raises(InvalidParams) as refused:
        estimates(answering(tmp_path, None)).estimate(ref, "m", wrong)
    told = refused.value.details
    assert "model_versions[0]: batch_size" in told
    assert "model_versions[0]: num_epochs" in told
    assert "model_versions[2]: image_size" in told
    assert "model_versions[1]" not in told


def test_a_video_counts_by_its_annotated_frames(estimates, db, blobs, ref, tmp_path):
    film = r.Input(id="film")
    film.data.video.video_info.duration_seconds = 4
    film.status.code = 30000
    with db.write() as tx:
        inputs.insert(tx, ref, [NewInput(message=film, content_sha=blobs.put(colours((RED, 2), (BLUE, 2))))])
    made = estimates(answering(tmp_path, {"pace": PACE, "seconds": 0}))
    with pytest.raises(NoTrainingData, match="what is annotated on it"):
        made.estimate(ref, "m", ask({}, count=0))
    notes = [
        r.Annotation(id=f"n{time}", input_id="film", data=r.Data(frames=[frame_at(time)]))
        for time in range(0, 4000, 100)
    ]
    for note in notes:
        note.status.code = 24150
    with db.write() as tx:
        annotations.insert(tx, ref, notes)
    [of_film] = made.estimate(ref, "m", ask({"batch_size": 40, "num_epochs": 2, "test_freq": 0}, count=0))
    assert asked(tmp_path)[-1].num_items == 32, "40 frames, of which 8 are held out"
    # two epochs of one step; the frames' own decoding is measured, and takes less than a second
    assert of_film.duration.seconds == pytest.approx(3 + 2 * (0.5 + 32 * 0.25) + 8 * 1.5 + 5, abs=10)


def frame_at(time: int) -> r.Frame:
    return r.Frame(frame_info=r.FrameInfo(time=time), data=r.Data(concepts=[r.Concept(id="a", value=1)]))


def test_without_inputs_or_dataset_there_is_nothing_to_count(estimates, ref, tmp_path):
    made = estimates(answering(tmp_path, None))
    with pytest.raises(NoTrainingData, match="estimated_input_count"):
        made.estimate(ref, "m", ask(count=0))
    with pytest.raises(NotFound, match="no dataset 'nowhere'"):
        made.estimate(ref, "m", ask({"dataset_id": "nowhere"}))


def test_counts_that_no_training_has_are_refused_before_anything_is_measured(estimates, ref, tmp_path):
    made = estimates(answering(tmp_path, None))
    with pytest.raises(InvalidModel, match="estimated_input_count is 4000000000; it must be at most 10000000"):
        made.estimate(ref, "m", ask({}, count=4_000_000_000))
    with pytest.raises(InvalidParams, match="num_items_per_epoch is 1e\\+10; it must be from 0 to 10000000"):
        made.estimate(ref, "m", ask({"num_items_per_epoch": 1e10}))
    assert not (tmp_path / "asked").exists()


def test_a_probe_that_takes_too_long_is_told_and_killed(tmp_path):
    with pytest.raises(Busy, match=r"could not be measured .* within 1 s"):
        answering(tmp_path, None, seconds=1).pace(ORDER)


def test_only_one_probe_runs_at_a_time(tmp_path):
    probes = answering(tmp_path, None, seconds=0.2)
    with probes.turn, pytest.raises(Busy, match="Other training time estimates"):
        probes.pace(ORDER)


def test_a_refusal_or_a_death_of_the_child_reaches_the_caller_as_a_sentence(tmp_path):
    said = {"refused": {"code": 21106, "http_status": 500, "details": "set batch_size to 3 or less."}}
    with pytest.raises(LehrError, match="batch_size to 3") as refused:
        answering(tmp_path, said).pace(ORDER)
    assert refused.value.code == 21106
    dies = Probes(command=["sh", "-c", "kill -9 $$"], folder=tmp_path / "probes")
    with pytest.raises(TrainingStopped, match="memory ran out"):
        dies.pace(ORDER)
    fails = Probes(command=["sh", "-c", "echo it broke >&2; exit 3"], folder=tmp_path / "probes")
    with pytest.raises(LehrError, match=r"\(exit code 3\): it broke"):
        fails.pace(ORDER)


def test_a_probe_is_refused_while_a_training_computes_on_the_gpu(tmp_path, monkeypatch):
    gpu, folder = Device(name="cuda:0", is_bf16=True, threads=2), tmp_path / "home" / "cache" / "gpus"
    monkeypatch.setattr(device, "choose_device", lambda: gpu)
    monkeypatch.setattr(gpu_turns, "_identity", lambda device: "the only one")
    with gpu_turns.training_on(gpu, folder):
        answer = json.loads(probe(Settings(home=tmp_path / "home"), ORDER.to_json()))
    with pytest.raises(LehrError, match="A training computes on cuda:0") as refused:
        answering(tmp_path, answer).pace(ORDER)
    assert refused.value.code == Busy.code, "clients ask again on this code"


def test_callers_who_ask_at_once_share_one_measurement(tmp_path):
    probes = answering(tmp_path, {"pace": PACE, "seconds": 0})
    threads = [threading.Thread(target=probes.pace, args=[ORDER]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked(tmp_path)) == 1


@pytest.mark.slow
def test_a_real_probe_measures_steps_features_and_writing(estimates, ref, tmp_path):
    probes = Probes(command=[sys.executable, "-m", "lehr", "probe"], folder=tmp_path / "probes", seconds=240)
    [estimate] = estimates(probes).estimate(ref, "m", ask({"width_multiplier": 0.125, "num_epochs": 3}))
    assert estimate.duration.seconds >= 1
    pace = Pace.from_json(json.loads(next(probes.folder.glob("*.json")).read_text()))
    assert pace.item_seconds + pace.step_seconds > 0
    assert pace.write_seconds > 0
    assert pace.start_seconds > 0
    assert pace.item_bytes > 0
    assert pace.fixed_bytes > 0
    assert pace.solve_seconds == 0
    frozen = ProbeOrder(**{**vars(ORDER), "template": "Lehr_Lite", "params": {"image_size": 64}})
    assert probes.pace(frozen).feature_seconds > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_type", "template", "params"),
    [
        ("visual-detector", "Lehr_Lite", {"image_size": 64, "base_gradient_multiplier": 0, "batch_size": 2}),
        ("visual-embedder", "Lehr_Lite", {"image_size": 48}),
        ("embedding-classifier", "embedding_classifier", {"image_size": 48}),
    ],
)
def test_a_real_probe_measures_every_type_of_model(tmp_path, model_type, template, params):
    probes = Probes(command=[sys.executable, "-m", "lehr", "probe"], folder=tmp_path / "probes", seconds=240)
    order = ProbeOrder(model_type=model_type, template=template, params=params, concepts=("a", "b", "c"), num_items=50)
    pace = probes.pace(order)
    assert pace.item_seconds + pace.step_seconds > 0
    assert pace.write_seconds > 0
    assert pace.evaluate_seconds > 0
    assert (pace.feature_seconds > 0) == (model_type != "visual-detector")
    assert (pace.solve_seconds > 0) == (model_type == "embedding-classifier")
