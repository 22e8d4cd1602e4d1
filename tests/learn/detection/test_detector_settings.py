"""What each hyperparameter of a detector does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_shapes import CONCEPTS, drawn

from lehr.errors import InvalidParams
from lehr.hyperparameters import describe, parse, resolved_lrate
from lehr.learn.bundle import write_bundle
from lehr.learn.data.dataset import Data, build_data
from lehr.learn.data.packs import Packs
from lehr.learn.detection.found import boxes_in, pixels_of, rows_of
from lehr.learn.detection.retinanet import RetinaNet
from lehr.learn.device import choose_device
from lehr.learn.learners.detection import DetectionLearner, with_concepts_of
from lehr.learn.loop import train
from lehr.learn.metrics.mean_average_precision import ImageBoxes
from lehr.learn.nets.backbone import Backbone
from lehr.learn.nets.catalogue import build
from lehr.learn.recipe import Recipe
from lehr.templates import find


def form_of(name: str = "Lehr_Lite", **params: object):
    return parse(find("visual-detector", name).form, params).form


@pytest.fixture(scope="module")
def data(packs_folder: Path) -> Data:
    template = find("visual-detector", "Lehr_Lite")
    order = template.data_order(form_of(image_size=64), CONCEPTS)
    return build_data(order, drawn(20), packs=Packs(packs_folder))


def recipe_of(data: Data, name: str = "Lehr_Lite", **params: object) -> Recipe:
    template = find("visual-detector", name)
    form = form_of(name, **{"image_size": 64, "batch_size": 4, "num_epochs": 2, **params})
    return template.recipe(form, data.problem(choose_device("cpu", 2)))


def learner_of(data: Data, name: str = "Lehr_Lite", **params: object) -> DetectionLearner:
    recipe = recipe_of(data, name, **params)
    preparation = recipe.begin(recipe, data, True)
    while True:
        try:
            next(preparation)
        except StopIteration as end:
            return end.value


def test_per_class_regression_makes_one_set_of_regressors_per_concept(data: Data) -> None:
    for is_on, sets in ((False, 1), (True, 2)):
        net = learner_of(data, use_perclass_regression=is_on).net.detector
        assert net.regressors.conv.out_channels == net.shape.anchors.per_cell * sets * 4


@pytest.mark.parametrize("given", [[0.25, 1, 4, 8], "0.25, 1, 4, 8", "[0.25,1,4,8]"])
def test_anchor_ratios_are_widths_by_heights_of_the_anchors_of_every_cell(data: Data, given: object) -> None:
    net = learner_of(data, anchor_ratios=given).net.detector
    assert net.shape.anchors.per_cell == 4 * 3
    first_cell = net.shape.anchors.arrays(64, 64)[0][:12]
    sides = first_cell[:, 2:] - first_cell[:, :2]
    assert np.allclose((sides[:, 0] / sides[:, 1]).reshape(4, 3), np.array([[0.25], [1], [4], [8]]))


def test_bad_ratios_are_refused_with_what_was_given() -> None:
    for bad in ("wide", [], [0], [1, "x"], 3):
        with pytest.raises(InvalidParams, match="anchor_ratios"):
            form_of(anchor_ratios=bad)


def test_small_pictures_have_small_anchors(data: Data) -> None:
    assert learner_of(data).net.detector.shape.anchors.sizes[0] == pytest.approx(32 * 64 / 320)
    assert recipe_of(data, image_size=800).net.arguments["anchor_scale"] == 1.0


def test_a_mirrored_picture_has_mirrored_boxes(data: Data) -> None:
    learner = learner_of(data)
    chosen = data.train_indices[:2]
    plain, flipped = learner.batch(chosen, [False, False]), learner.batch(chosen, [True, True])
    for index, (height, width) in enumerate(plain.sizes):
        picture, mirror = (batch.images[index, :, :height, :width] for batch in (plain, flipped))
        assert torch.equal(picture.flip(-1), mirror)
        here, there = plain.truth[index].boxes, flipped.truth[index].boxes
        assert torch.allclose(there[:, 0], width - here[:, 2])
        assert torch.equal(there[:, 1], here[:, 1])
        inside = [picture[:, int(y1) + 2 : int(y2) - 1, int(x1) + 2 : int(x2) - 1] for x1, y1, x2, y2 in here.tolist()]
        turned = [mirror[:, int(y1) + 2 : int(y2) - 1, int(x1) + 2 : int(x2) - 1] for x1, y1, x2, y2 in there.tolist()]
        for one, other in zip(inside, turned, strict=True):
            assert one.mean((1, 2)).sub(other.mean((1, 2))).abs().max() < 0.1


def test_half_of_the_pictures_are_mirrored_where_it_is_on(data: Data) -> None:
    assert form_of().training_flip_probability == 0
    assert form_of(average_horizontal_flips=True).training_flip_probability == 0.5
    seen: list[bool] = []

    class SeenError(Exception):
        pass

    class Watching(DetectionLearner):
        def batch(self, indices, is_mirrored_B):
            seen.extend(is_mirrored_B.tolist())
            raise SeenError

    learner = learner_of(data, average_horizontal_flips=True)
    watching = Watching(learner.net, learner.recipe, data, learner.flip_probability)
    for step in range(40):
        with pytest.raises(SeenError):
            watching.draw(np.arange(16), np.random.default_rng(step))
    assert 0.4 < np.mean(seen) < 0.6


def test_focal_loss_and_hard_example_mining_are_different_losses_of_the_same_outputs(data: Data) -> None:
    losses = []
    for is_on in (True, False):
        learner = learner_of(data, use_focal_loss=is_on)
        assert learner.net.objective.use_focal_loss is is_on
        losses.append(learner.loss(learner.draw(np.arange(4), np.random.default_rng(0))).item())
    assert abs(losses[0] - losses[1]) > 0.05


def test_a_base_multiplier_of_0_leaves_the_pretrained_base_as_it_is(data: Data) -> None:
    for multiplier, trains in ((0, False), (0.5, True)):
        learner = learner_of(data, base_gradient_multiplier=multiplier)
        assert all(parameter.requires_grad is trains for parameter in learner.net.detector.base.parameters())
        assert learner.recipe.descent.multipliers == (("detector.base.*", multiplier),)


def test_norms_of_a_pretrained_base_rest_and_of_a_random_one_live(data: Data) -> None:
    for weights, is_frozen in ((None, True), ("none", False)):
        learner = learner_of(data, pretrained_weights=weights)
        base = learner.net.detector.base
        assert isinstance(base, Backbone)
        before = {name: value.clone() for name, value in base.named_buffers() if name.endswith("running_mean")}
        learner.net.train()
        learner.loss(learner.draw(np.arange(4), np.random.default_rng(0)))
        moved = [name for name, value in base.named_buffers() if name in before and not value.equal(before[name])]
        assert bool(moved) is not is_frozen
        assert bool(learner.recipe.notices) is not is_frozen


def test_the_three_rates_say_one_thing() -> None:
    forms = [form_of(batch_size=4, lrate=0.02), form_of(batch_size=4, per_item_lrate=0.005)]
    forms.append(form_of(batch_size=4, per_128_lrate=0.64))
    assert {resolved_lrate(form) for form in forms} == {0.02}


def test_the_step_size_climbs_and_falls_in_steps() -> None:
    schedule = form_of(num_epochs=30, init_epochs=20, step_epochs=5).schedule(steps_per_epoch=100)
    assert schedule(0.0) == pytest.approx(0.01)
    assert schedule(1.5) == pytest.approx(0.5)
    assert [round(schedule(epoch), 6) for epoch in (3, 19.9, 20, 25)] == [1, 1, 0.1, 0.01]


@pytest.mark.parametrize("name", ["Clarifai_InceptionV2", "Clarifai_InceptionV4"])
def test_the_public_fields_have_the_public_ranges(name: str) -> None:
    knobs = {knob.name: knob for knob in describe(find("visual-detector", name).form)}
    assert (knobs["batch_size"].minimum, knobs["batch_size"].maximum) == (1, 16)
    assert (knobs["num_epochs"].minimum, knobs["num_epochs"].maximum) == (1, 200)
    assert all(knob.sentence and knob.placeholder for knob in knobs.values())
    for size in (320, 512, 800):
        assert form_of(name, image_size=size).image_size == size
    with pytest.raises(InvalidParams, match="logreg has no meaning"):
        form_of(name, logreg=1)


@pytest.mark.slow
def test_gradient_checkpointing_changes_no_gradient(data: Data) -> None:
    gradients = []
    for switch in ("off", "on"):
        learner = learner_of(data, "Clarifai_InceptionV4", gradient_checkpointing=switch, batch_size=2)
        assert (learner.net.detector.base.checkpoint_segments > 0) is (switch == "on")
        learner.net.train()
        with torch.autocast("cpu", enabled=False):
            learner.device = replace(learner.device, is_bf16=False)
            learner.loss(learner.draw(np.arange(2), np.random.default_rng(0))).backward()
        gradients.append([p.grad for p in learner.net.detector.base.parameters() if p.grad is not None])
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*gradients, strict=True))


def test_continuing_keeps_the_filters_of_concepts_that_were_known() -> None:
    arguments = {"backbone": "efficientnet_lite0", "head": "lite", "use_perclass_regression": True}
    torch.manual_seed(0)
    earlier, later = (build("detector", {**arguments, "num_concepts": count}) for count in (2, 3))
    assert isinstance(later, RetinaNet)
    fresh = {key: value.clone() for key, value in later.state_dict().items()}
    later.load_state_dict(with_concepts_of(earlier.state_dict(), later, [1, None, 0]))
    old, new = (net.class_logits.weight.detach().unflatten(0, (9, -1)) for net in (earlier, later))
    assert torch.equal(new[:, 0], old[:, 1])
    assert torch.equal(new[:, 2], old[:, 0])
    assert torch.equal(new[:, 1], fresh["class_logits.weight"].unflatten(0, (9, -1))[:, 1])
    old_sets, new_sets = (net.regressors.conv.weight.detach().unflatten(0, (9, -1, 4)) for net in (earlier, later))
    assert torch.equal(new_sets[:, 0], old_sets[:, 1])


def test_boxes_travel_as_rows_of_equal_shape() -> None:
    found = ImageBoxes(
        boxes=np.array([[10.0, 20, 30, 60], [0, 0, 64, 96]], np.float32),
        classes=np.array([1, 0]),
        scores=np.array([0.9, 0.4], np.float32),
    )
    rows = rows_of(found, (96, 64))
    assert rows.shape == (100, 6)
    assert boxes_in(rows)[0] == pytest.approx([20 / 96, 10 / 64, 60 / 96, 30 / 64, 0.9, 1])
    back = pixels_of(rows, (96, 64))
    assert np.allclose(back.boxes, found.boxes)
    assert back.classes.tolist() == [1, 0]
    assert (
        len(boxes_in(rows_of(ImageBoxes(boxes=np.zeros((0, 4)), classes=np.zeros(0), scores=np.zeros(0)), (9, 9)))) == 0
    )


@pytest.mark.parametrize("name", ["Lehr_Lite", pytest.param("Clarifai_InceptionV2", marks=pytest.mark.slow)])
def test_a_detector_continues_one_that_began_with_random_weights(data: Data, tmp_path: Path, name: str) -> None:
    params = {"batch_size": 2, "num_epochs": 1, "num_items_per_epoch": 2, "pretrained_weights": "none"}
    recipe = recipe_of(data, name, **params)
    *_, end = train(recipe, data)
    folder = write_bundle(recipe, data, end.state(), None, tmp_path / "earlier").folder
    template, form = find("visual-detector", name), form_of(name, **{"image_size": 64, **params, "lrate": 0.0})
    later = template.recipe(form, replace(data.problem(choose_device("cpu", 2)), earlier=folder))
    assert later.net.arguments["group_norm"] == recipe.net.arguments["group_norm"]
    events = list(train(later, data))
    assert any("Continuing from an earlier version with 2 concepts" in getattr(event, "text", "") for event in events)
    weights = [state.tensors["net/detector.class_logits.weight"] for state in (end.state(), events[-1].state())]
    assert torch.equal(*weights)
