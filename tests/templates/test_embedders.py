"""Embedders learn, answer with unit vectors, stop and go on bit for bit, and serve as the base of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learning import Lesson, data_for, learned, pictures_of, recipe_for, some_digits

from lehr.errors import InvalidParams
from lehr.hyperparameters import parse
from lehr.learn.bundle import read_bundle, read_evaluation
from lehr.learn.checkpoint import load, save
from lehr.learn.data.crops import View
from lehr.learn.data.images import Images
from lehr.learn.data.normalise import normalised
from lehr.learn.events import Stepped
from lehr.learn.loop import train
from lehr.learn.losses.arcface import warm_up
from lehr.learn.metrics.embedding import EmbeddingEvaluation
from lehr.learn.predictor import Predictor
from lehr.templates import find, of_type

EMBEDDER = ("Lehr_Lite", "visual-embedder")
CLASSIFIER = ("embedding_classifier", "embedding-classifier")
QUICK = {"image_size": 48, "num_epochs": 6, "init_epochs": 4, "embeddings_size": 32, "inference_crop_type": "center"}


@pytest.fixture(scope="module")
def lesson(digits: Path, packs: Path) -> Lesson:
    """An embedder of 32 dimensions, learned in seconds on the base that comes with Lehr."""
    data = data_for(*EMBEDDER, some_digits(digits), packs, **QUICK)
    return learned(recipe_for(*EMBEDDER, data, **QUICK), data)


@pytest.fixture(scope="module")
def model(lesson: Lesson, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedders") / "digits"
    lesson.written(folder)
    return folder


def test_an_embedder_learns_to_bring_like_pictures_together(lesson: Lesson) -> None:
    evaluation = lesson.evaluated()
    assert isinstance(evaluation, EmbeddingEvaluation)
    assert evaluation.known
    assert evaluation.known.recall_at_1 > 0.5, "a chance of 0.1"
    assert evaluation.known.map_at_r > 0.35
    assert evaluation.known.recall_at_1 <= evaluation.known.recall_at_5 <= evaluation.known.recall_at_10
    assert evaluation.unseen is None
    assert lesson.metrics["recall_at_1"] == pytest.approx(evaluation.known.recall_at_1, abs=0.15)


def test_an_embedder_answers_with_vectors_of_length_one_in_every_form(lesson: Lesson, model: Path) -> None:
    bundle = read_bundle(model)
    assert bundle.output == "embedding"
    assert bundle.serving["form"] == "openvino"
    assert read_evaluation(model) == lesson.evaluated()
    pictures = pictures_of(lesson.data, lesson.data.held_indices[:12])
    vectors = np.stack(Predictor.load(model, "cpu").predict(pictures))
    assert vectors.shape == (12, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    alone = np.stack([Predictor.load(model, "cpu").predict([picture])[0] for picture in pictures[:3]])
    np.testing.assert_allclose(alone, vectors[:3], atol=0.02)


def test_an_embedder_goes_on_bit_for_bit(lesson: Lesson) -> None:
    stops = {1, lesson.state.facts["step"] // 2}
    states = [
        load(save(event.state()))
        for event in train(lesson.recipe, lesson.data)
        if isinstance(event, Stepped) and event.step in stops
    ]
    assert len(states) == len(stops)
    for state in states:
        resumed = learned(lesson.recipe, lesson.data, state).state
        assert resumed.facts["history"] == lesson.state.facts["history"]
        assert all(torch.equal(value, resumed.tensors[name]) for name, value in lesson.state.tensors.items())


@pytest.mark.slow
def test_an_embedder_trained_on_pixels_goes_on_bit_for_bit(digits: Path, packs: Path) -> None:
    params = {
        "model_cfg": "inception_batchnorm",
        "image_size": 32,
        "batch_size": 8,
        "num_epochs": 2,
        "num_items_per_epoch": 24,
        "embeddings_size": 16,
    }
    name = ("classification_angular_margin_embed", "visual-embedder")
    data = data_for(*name, some_digits(digits, every=20), packs, **params)
    recipe = recipe_for(*name, data, **params)
    whole = learned(recipe, data).state
    (middle,) = [event.state() for event in train(recipe, data) if isinstance(event, Stepped) and event.step == 2]
    resumed = learned(recipe, data, load(save(middle))).state
    assert all(torch.equal(value, resumed.tensors[key]) for key, value in whole.tensors.items())


def test_concepts_kept_out_of_the_training_are_measured_on_their_own(digits: Path, packs: Path) -> None:
    params = {**QUICK, "unseen_concepts": 0.3}
    data = data_for(*EMBEDDER, some_digits(digits), packs, **params)
    assert len(data.unseen) == 3
    columns = [data.order.concepts.index(concept) for concept in data.unseen]
    assert not data.targets_NK[np.ix_(data.train_indices, columns)].any()
    assert {finding.kind for finding in data.findings} & {"unseen", "no_positives"} == {"unseen"}
    evaluation = learned(recipe_for(*EMBEDDER, data, **params), data).evaluated()
    assert evaluation.unseen_concepts == data.unseen
    assert evaluation.unseen.num_concepts == 3
    assert evaluation.unseen.recall_at_1 > 0.6, "a chance of 0.33"
    assert evaluation.known.num_concepts == 7


@pytest.mark.parametrize(
    ("num_concepts", "given", "share"), [(19, None, 0.0), (20, None, 0.1), (50, 0.0, 0.0), (5, 0.5, 0.5)]
)
def test_many_concepts_leave_a_tenth_for_the_measurement(num_concepts: int, given: float | None, share: float) -> None:
    form = parse(find(*reversed(EMBEDDER)).form, {"unseen_concepts": given}).form
    assert form.unseen_share(num_concepts) == share


def test_the_angular_knobs_shape_the_loss(lesson: Lesson) -> None:
    def arcface(**params: object) -> dict[str, object]:
        return recipe_for(*EMBEDDER, lesson.data, **params).net.arguments["arcface"]

    assert arcface()["scale"] == 32
    assert set(arcface()["margin"]) == {0.3}, "fewer than 50 pictures per concept"
    assert arcface(angular_scale=64, angular_margin=0.7) | {"scale": 64, "margin": [0.7] * 10} == arcface(
        angular_scale=64, angular_margin=0.7
    )
    assert arcface(angular_centers=3)["centers"] == 3
    form = parse(find(*reversed(EMBEDDER)).form, {"angular_margin_mode": "dynamic", "angular_margin": 0.6}).form
    common, rare = form.margins([500, 2])
    assert 0.1 <= common < rare <= 0.6


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 0.0),
        ({"flip_probability": 0.3}, 0.3),
        ({"average_horizontal_flips": True}, 0.5),
        ({"average_horizontal_flips": True, "flip_probability": 0.0}, 0.0),
    ],
)
@pytest.mark.parametrize("kind", [EMBEDDER, ("Lehr_Lite", "visual-classifier")])
def test_features_are_those_of_mirrored_pictures_as_often_as_was_said(
    lesson: Lesson, kind: tuple[str, str], given: dict[str, object], expected: float
) -> None:
    recipe = recipe_for(*kind, lesson.data, image_size=48, **given)
    learner = drained(recipe.begin(recipe, lesson.data, True))
    drawn, plain = [], learner.features.of_items(lesson.data.train_indices)
    for step in range(8):
        indices = np.arange(lesson.data.num_train)
        features, targets = learner.draw(indices, np.random.default_rng(step))
        drawn.append((features != plain).any(1).float().mean().item())
        assert torch.equal(targets, torch.from_numpy(lesson.data.targets_NK[lesson.data.train_indices]))
    assert np.mean(drawn) == pytest.approx(expected, abs=0.08 if expected else 0.0)
    assert len(learner.features.features_VND) == (2 if expected else 1), "what is not needed is not computed"


def test_two_networks_with_the_same_weights_do_not_share_features(lesson: Lesson) -> None:
    """Of small pictures: one keeps its resolution."""
    found = []
    for kind in (EMBEDDER, ("Lehr_Lite", "visual-classifier")):
        recipe = recipe_for(*kind, lesson.data, image_size=48)
        learner = drained(recipe.begin(recipe, lesson.data, True))
        base = getattr(learner, "base", None) or learner.base_and_head.base
        pictures = learner.features.of_items(lesson.data.held_indices[:4]).float()
        view = View().crops(lesson.data.pack, lesson.data.rows_N[lesson.data.held_indices[:4]], 40)
        x_BCSS = normalised(Images(lesson.data.pack, recipe.problem.device).crops(view), recipe.preprocessing)
        with torch.inference_mode(), recipe.problem.device.autocast():
            torch.testing.assert_close(pictures, base.eval()(x_BCSS).float(), atol=0.05, rtol=0.05)
        found.append(pictures)
    assert not torch.allclose(*found, atol=0.1)


def drained(preparation):
    """What a preparation ends with."""
    while True:
        try:
            next(preparation)
        except StopIteration as end:
            return end.value


def test_the_margin_grows_with_the_steps_and_a_resumed_run_knows_how_far_it_was(lesson: Lesson) -> None:
    from lehr.learn.learners.embedding import Margin

    net = torch.nn.Module()
    net.norm = torch.nn.BatchNorm1d(2)
    num_steps = lesson.state.facts["step"]
    for step in (0, 3, num_steps // 2):
        net.norm.num_batches_tracked.fill_(step)
        assert Margin.of(net, lesson.recipe).next_share() == warm_up(step, num_steps)  # type: ignore[arg-type]
    assert lesson.state.tensors["net/norm.num_batches_tracked"] == num_steps


def test_a_head_is_solved_on_ones_own_embedder(lesson: Lesson, model: Path, packs: Path, tmp_path: Path) -> None:
    data = data_for(*CLASSIFIER, lesson.data.items, packs, base=model)
    assert data.order.image_size == QUICK["image_size"], "pictures as large as the embedder's"
    solved = learned(recipe_for(*CLASSIFIER, data, {"base": model}), data)
    assert any("penalties" in note for note in solved.notes)
    bundle = solved.written(tmp_path / "classifier")
    assert bundle.metrics["top1_accuracy"] > 0.7
    assert bundle.output == "probabilities"
    assert bundle.details["pretrained"]["name"] == "Lehr_Lite trained here"
    pictures = pictures_of(data, data.held_indices)
    answers = np.stack(Predictor.load(tmp_path / "classifier", "cpu").predict(pictures))
    truth = data.targets_NK[data.held_indices].argmax(1)
    assert (answers.argmax(1) == truth).mean() == pytest.approx(bundle.metrics["top1_accuracy"], abs=0.05)


def test_a_head_is_solved_on_the_embedder_that_comes_with_lehr(lesson: Lesson, packs: Path) -> None:
    data = data_for(*CLASSIFIER, lesson.data.items, packs, image_size=48)
    for logreg in (1, 0):
        solved = learned(recipe_for(*CLASSIFIER, data, image_size=48, logreg=logreg), data)
        evaluation = solved.evaluated()
        assert evaluation.top1_accuracy > 0.7
        sums = np.array([sum(row.probabilities) for row in evaluation.rows])
        assert bool(np.allclose(sums, 1, atol=1e-3)) is (logreg == 0)


def test_only_an_embedder_is_the_base_of_an_embedding_classifier(
    lesson: Lesson, model: Path, packs: Path, tmp_path: Path
) -> None:
    data = data_for(*CLASSIFIER, lesson.data.items, packs, base=model)
    learned(recipe_for(*CLASSIFIER, data, {"base": model}), data).written(tmp_path / "classifier")
    with pytest.raises(InvalidParams, match="name a visual-embedder"):
        recipe_for(*CLASSIFIER, data, {"base": tmp_path / "classifier"})


def test_an_embedder_continues_where_it_was_and_takes_in_new_concepts(
    lesson: Lesson, model: Path, packs: Path, digits: Path
) -> None:
    params = {**QUICK, "num_epochs": 1, "lrate": 0.0}
    continued = learned(recipe_for(*EMBEDDER, lesson.data, {"earlier": model}, **params), lesson.data)
    assert any(note.startswith("Continuing from an earlier version with 10 concepts") for note in continued.notes)
    assert continued.metrics["recall_at_1"] == pytest.approx(lesson.metrics["recall_at_1"], abs=0.15)
    fewer = data_for(*EMBEDDER, some_digits(digits, only="8142"), packs, **params)
    order = replace(fewer.order, concepts=("8", "new", "1"))
    targets = np.stack([fewer.targets_NK[:, 3], fewer.targets_NK[:, 1], fewer.targets_NK[:, 0]], axis=1)
    changed = replace(fewer, order=order, targets_NK=targets)
    state = learned(recipe_for(*EMBEDDER, changed, {"earlier": model}, **params), changed).state
    head, old = state.tensors["net/head.weight"], lesson.state.tensors["net/head.weight"]
    assert torch.equal(head[0], old[8])
    assert torch.equal(head[2], old[1])
    assert not any(torch.equal(head[1], row) for row in old)


def test_another_template_does_not_continue_a_model(lesson: Lesson, model: Path) -> None:
    recipe = recipe_for("Lehr_Lite", "visual-classifier", lesson.data, {"earlier": model}, image_size=48)
    recipe = replace(recipe, template="Clarifai_ResNext")
    with pytest.raises(InvalidParams, match="continues one of its own template"):
        list(train(recipe, lesson.data))


@pytest.mark.parametrize("template", of_type("visual-embedder"), ids=lambda template: template.name)
def test_embedders_know_every_knob_of_the_embedding_page(template: object) -> None:
    knobs = {
        "image_size",
        "batch_size",
        "init_epochs",
        "step_epochs",
        "num_epochs",
        "per_item_lrate",
        "num_items_per_epoch",
    }
    angular = {"angular_scale", "angular_margin", "embeddings_size"}
    form = template.form  # type: ignore[attr-defined]
    assert set(form.model_fields) >= knobs
    assert set(form.model_fields) >= angular or "logreg" in form.model_fields
    assert not (angular <= set(form.model_fields) and "logreg" in form.model_fields)
