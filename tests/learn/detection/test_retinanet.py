"""The whole detector: sizes, selection against loops, export, and that it learns."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import box_iou

from lehr.learn.detection.anchors import Anchors
from lehr.learn.detection.boxes import clip, decode
from lehr.learn.detection.matching import match
from lehr.learn.detection.objective import DetectionObjective, TrueBoxes, assign
from lehr.learn.detection.postprocess import Detections, select
from lehr.learn.detection.regressors import DenseOffsets
from lehr.learn.detection.retinanet import DenseRetinaNet, DetectorShape, RetinaNet, split_levels
from lehr.learn.detection.selection import Selection
from lehr.learn.losses.anchor_classes import BACKGROUND, one_hot
from lehr.learn.metrics.mean_average_precision import ImageBoxes, detection_evaluation
from lehr.learn.nets.backbone import Backbone
from lehr.learn.nets.bn_inception import bn_inception
from lehr.learn.nets.conv_norm import ConvNorm
from lehr.learn.nets.inception_v2 import inception_v2
from lehr.learn.nets.inception_v4 import inception_v4

BACKBONES: dict[str, Callable[[], Backbone]] = {
    "bn_inception": bn_inception,
    "inception_v2": lambda: inception_v2(same_padding=True),
    "inception_v4": lambda: inception_v4(same_padding=True),
}
Pictures = Callable[[int, int], tuple[torch.Tensor, list[TrueBoxes]]]
"""(how many, seed) -> images [N, 3, 64, 64] and what is in them."""


def tiny_backbone() -> Backbone:
    widths = (3, 16, 16, 32, 48, 64)
    blocks = [ConvNorm(ins, outs, 3, stride=2) for ins, outs in pairwise(widths)]
    return Backbone(nn.Sequential(*blocks), taps=(2, 3, 4), map_channels=(32, 48, 64))


def tiny(num_classes: int = 3, **options: object) -> RetinaNet:
    torch.manual_seed(0)
    anchors = Anchors(sizes=(16.0, 32.0, 64.0, 128.0, 256.0))
    return RetinaNet(
        tiny_backbone(), DetectorShape(num_classes=num_classes, anchors=anchors, channels=32, depth=1, **options)
    )


@pytest.mark.parametrize(
    ("name", "classes", "per_class", "millions"),
    [
        ("bn_inception", 20, False, 18.8),
        ("bn_inception", 20, True, 20.4),
        ("inception_v2", 20, False, 31.18),
        ("inception_v2", 20, True, 32.76),
        ("inception_v2", 80, True, 38.98),
        ("inception_v4", 20, False, 50.1),
        ("inception_v4", 80, True, 57.9),
    ],
)
def test_parameters_of_the_detectors(name: str, classes: int, per_class: bool, millions: float) -> None:
    with torch.device("meta"):
        net = RetinaNet(BACKBONES[name](), DetectorShape(num_classes=classes, use_perclass_regression=per_class))
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
    assert sum(p.numel() for p in net.head_parameters()) < sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("name", "gmacs"), [("bn_inception", 42.3), ("inception_v2", 52.7), ("inception_v4", 75.0)])
def test_multiply_adds_of_the_detectors_at_512_pixels(name: str, gmacs: float) -> None:
    with torch.device("meta"):
        net = DenseRetinaNet(RetinaNet(BACKBONES[name](), DetectorShape(num_classes=20))).eval()
        with FlopCounterMode(display=False) as counter:
            logits, offsets = net(torch.empty(1, 3, 512, 512))
    assert logits.shape == (1, 49_104, 20)
    assert offsets.shape == (1, 49_104, 1, 4)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, abs=0.3)


def test_an_untrained_head_gives_every_class_the_prior() -> None:
    raw = tiny().eval()(torch.randn(1, 3, 64, 64))
    assert torch.cat(raw.logits, 1).sigmoid().mean().item() == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize("options", [{}, {"group_norm": True}])
def test_a_level_has_as_many_anchors_as_outputs_at_any_size(options: dict[str, object]) -> None:
    net, images = tiny(**options), torch.randn(2, 3, 96, 160)
    raw = net(images)
    assert [level.shape[1] for level in raw.logits] == [len(level) for level in net.anchors(images)]


@pytest.mark.parametrize("per_class", [False, True])
def test_selection_is_the_loop_over_levels_pairs_and_overlaps(per_class: bool) -> None:
    net, images = tiny(use_perclass_regression=per_class).eval(), torch.randn(2, 3, 64, 96)
    for part in (net.class_tower, net.box_tower):
        nn.init.kaiming_normal_(part[0].weight)
    nn.init.normal_(net.class_logits.weight, std=0.5)
    nn.init.normal_(net.regressors.conv.weight, std=0.05)
    rules = Selection(threshold=0.3, per_level=40, nms_iou=0.5, limit=15)
    with torch.no_grad():
        raw, anchors = net(images), net.anchors(images)
        found = select(raw.logits, net.offsets(raw), anchors, [(64, 96), (60, 80)], rules)
        dense = [net.regressors.dense(tower) for tower in raw.towers]
    for index, (height, width) in enumerate([(64, 96), (60, 80)]):
        wanted = by_loops(index, raw.logits, dense, anchors, (height, width), rules)
        assert len(found[index].scores) == len(wanted) > 5
        ours = zip(found[index].scores.tolist(), found[index].classes.tolist(), found[index].boxes, strict=True)
        for (score, label, box), (wanted_score, wanted_label, wanted_box) in zip(ours, wanted, strict=True):
            assert (score, label) == (pytest.approx(wanted_score), wanted_label)
            torch.testing.assert_close(box, wanted_box, rtol=1e-4, atol=1e-3)
        assert (found[index].above(0.6).scores > 0.6).all()


def by_loops(
    index: int,
    logits: list[torch.Tensor],
    dense: list[torch.Tensor],
    anchors: list[torch.Tensor],
    size: tuple[int, int],
    rules: Selection,
) -> list[tuple[float, int, torch.Tensor]]:
    pairs = []
    for level, scores in enumerate(logits):
        here = []
        for anchor, row in enumerate(scores[index].sigmoid().tolist()):
            for label, score in enumerate(row):
                sets = dense[level][index, anchor]
                box = clip(decode(sets[label if len(sets) > 1 else 0], anchors[level][anchor]), *size)
                here.append((score, label, box))
        here.sort(key=lambda one: -one[0])
        pairs += [one for one in here[: rules.per_level] if one[0] > rules.threshold]
    kept: list[tuple[float, int, torch.Tensor]] = []
    for score, label, box in sorted(pairs, key=lambda one: -one[0]):
        empty = bool((box[2:] <= box[:2]).any())
        rivals = [other for _, same, other in kept if same == label]
        if not empty and all(box_iou(box[None], other[None]).item() <= rules.nms_iou for other in rivals):
            kept.append((score, label, box))
    return kept[: rules.limit]


def test_assignment_names_the_class_and_the_box_of_each_positive_anchor() -> None:
    anchors = torch.cat(Anchors().levels(64, 64))
    truth = [
        TrueBoxes(torch.tensor([[0.0, 0, 30, 30], [20, 20, 60, 60]]), torch.tensor([2, 0])),
        TrueBoxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)),
    ]
    wanted = assign([anchors], truth)
    assert (wanted.classes[1] == BACKGROUND).all()
    assert set(wanted.image.tolist()) == {0}
    for anchor, label, box in zip(wanted.anchor, wanted.label, wanted.box, strict=True):
        which = truth[0].classes.tolist().index(int(label))
        assert torch.equal(box, truth[0].boxes[which])
        overlaps = box_iou(anchors[anchor][None], truth[0].boxes)[0]
        assert overlaps[which] >= 0.5 or overlaps[which] == box_iou(anchors, box[None]).max()


def some_truth(seed: int) -> list[TrueBoxes]:
    """Three images; in the first two some boxes are drawn for two classes or three, or twice for one; the last is bare.

    Where boxes differ their overlaps with an anchor do, too, so that it is plain which of them an anchor belongs to.
    """
    generator = torch.Generator().manual_seed(seed)
    truth = []
    for copies in ((2, 1, 3, 1), (1, 2, 1, 1)):
        corners = torch.rand(4, 2, generator=generator) * 40
        boxes = torch.cat([corners, corners + 8 + 15 * torch.rand(4, 2, generator=generator)], 1)
        classes = torch.cat([torch.randperm(3, generator=generator)[:count] for count in copies])
        boxes = boxes.repeat_interleave(torch.tensor(copies), 0)
        order = torch.randperm(len(boxes) + 1, generator=generator)  # the last once more
        truth.append(TrueBoxes(torch.cat([boxes, boxes[-1:]])[order], torch.cat([classes, classes[-1:]])[order]))
    return [*truth, TrueBoxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))]


@pytest.mark.parametrize("seed", range(3))
def test_an_anchor_whose_box_is_drawn_for_several_classes_is_a_positive_of_each(seed: int) -> None:
    anchors, truth = torch.cat(Anchors().levels(64, 64)), some_truth(seed)
    wanted = assign([anchors], truth)
    expected = []
    for number, image in enumerate(truth):
        overlaps = box_iou(anchors, image.boxes)
        for anchor in range(len(anchors)):
            best = [g for g in range(len(image.boxes)) if overlaps[anchor, g] == overlaps[:, g].max() > 0]
            near = overlaps[anchor].argmax().item() if len(image.boxes) else None
            mine = max(best, key=lambda g: overlaps[anchor, g].item()) if best else near
            if mine is not None and (best or overlaps[anchor, mine] >= 0.5):
                box = image.boxes[mine].tolist()
                same = {int(k) for other, k in zip(image.boxes.tolist(), image.classes, strict=True) if other == box}
                expected += [(number, anchor, label, tuple(box)) for label in same]
    rows = (wanted.image.tolist(), wanted.anchor.tolist(), wanted.label.tolist(), map(tuple, wanted.box.tolist()))
    assert sorted(zip(*rows, strict=True)) == sorted(expected)
    targets = one_hot(wanted.classes, torch.zeros(3, len(anchors), 3), wanted.further)
    assert set(map(tuple, targets.nonzero().tolist())) == {row[:3] for row in expected}
    assert all(wanted.classes[row[:2]] >= 0 for row in expected)


@pytest.mark.parametrize("options", [{}, {"use_focal_loss": False}, {"use_giou": True}])
def test_the_losses_of_boxes_drawn_for_two_classes_are_least_where_both_are_said(options: dict[str, bool]) -> None:
    """Gradients push both classes up at the anchors of the box, and both classes' regressors towards it."""
    net, images = tiny(), torch.zeros(1, 3, 64, 64)
    anchors, box = net.anchors(images), torch.tensor([[4.0, 6, 30, 40]])
    logits = [torch.zeros(1, len(level), 3, requires_grad=True) for level in anchors]
    offsets = [torch.zeros(1, len(level), 3, 4, requires_grad=True) for level in anchors]
    truth = [TrueBoxes(box.repeat(2, 1), torch.tensor([2, 0]))]
    sum(DetectionObjective(**options)(logits, DenseOffsets(offsets), anchors, assign(anchors, truth))).backward()
    positive = match(torch.cat(anchors), box) >= 0
    of_logits = torch.cat([level.grad[0] for level in logits])[positive]
    assert (of_logits[:, [0, 2]] < 0).all()
    assert (of_logits[:, 1] > 0).all()
    of_offsets = torch.cat([level.grad[0] for level in offsets])[positive].abs().sum((0, 2))
    assert of_offsets[0] > 0
    torch.testing.assert_close(of_offsets[0], of_offsets[2])
    assert of_offsets[1] == 0


@pytest.mark.parametrize("options", [{}, {"use_focal_loss": False}, {"use_giou": True}])
def test_box_losses_look_at_the_right_anchors(options: dict[str, bool]) -> None:
    """Offsets that are exactly right cost nothing; only then."""
    images = torch.zeros(1, 3, 64, 64)
    net = tiny()
    anchors, truth = net.anchors(images), [TrueBoxes(torch.tensor([[4.0, 6, 30, 40]]), torch.tensor([1]))]
    from lehr.learn.detection.boxes import encode

    right = [
        encode(truth[0].boxes.expand(len(level), 4), level)[None, :, None].expand(-1, -1, 3, -1) for level in anchors
    ]
    wrong = [level.clone() for level in right]
    for level in wrong:
        level[:, :, 0] = 9.0  # class 0 and 2 are not asked for
        level[:, :, 2] = 9.0
    objective = DetectionObjective(**options)
    logits = [torch.zeros(1, len(level), 3) for level in anchors]
    wanted = assign(anchors, truth)
    assert objective(logits, DenseOffsets(wrong), anchors, wanted).boxes.item() == pytest.approx(0, abs=1e-5)
    assert objective(logits, DenseOffsets([level + 1 for level in right]), anchors, wanted).boxes.item() > 0.1


def test_the_average_of_positives_is_state_and_rests_in_evaluation() -> None:
    images, objective, net = torch.zeros(1, 3, 64, 64), DetectionObjective(), tiny()
    raw, anchors = net(images), net.anchors(images)
    truth = [TrueBoxes(torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([0]))]
    wanted = assign(anchors, truth)
    objective(raw.logits, net.offsets(raw), anchors, wanted)
    first = objective.average_positives.item()
    assert first == len(wanted.image) == sum(wanted.per_level)
    nothing = assign(anchors, [TrueBoxes(torch.zeros(0, 4), torch.zeros(0).long())])
    objective.eval()(raw.logits, net.offsets(raw), anchors, nothing)
    assert objective.state_dict()["average_positives"].item() == first


def rendered(count: int, seed: int) -> tuple[torch.Tensor, list[TrueBoxes]]:
    """Squares of two colours on a noisy ground."""
    torch.manual_seed(seed)
    images, truth = torch.randn(count, 3, 64, 64) * 0.1, []
    for image in images:
        x, y = torch.randint(0, 40, (2,)).tolist()
        side, label = int(torch.randint(14, 24, ())), int(torch.randint(2, ()))
        image[label, y : y + side, x : x + side] += 2
        truth.append(TrueBoxes(torch.tensor([[x, y, x + side, y + side]]).float(), torch.tensor([label])))
    return images, truth


def taught(net: RetinaNet, objective: DetectionObjective, pictures: Pictures) -> list[Detections]:
    """Trains for 120 steps on 8 pictures each, and finds what is in 20 others."""
    optimizer = torch.optim.AdamW(net.train().parameters(), lr=3e-3)
    for step in range(120):
        images, truth = pictures(8, step)
        raw = net(images)
        anchors = net.anchors(images)
        loss = sum(objective(raw.logits, net.offsets(raw), anchors, assign(anchors, truth)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, _ = pictures(20, 10_000)
    with torch.no_grad():
        raw = net.eval()(images)
        return select(raw.logits, net.offsets(raw), net.anchors(images), [(64, 64)] * 20)


LEARNING = [{"use_perclass_regression": True}, {"use_focal_loss": False}, {"use_giou": True}]


@pytest.mark.parametrize("options", LEARNING)
def test_it_learns_to_find_coloured_squares(options: dict[str, bool]) -> None:
    regression = {name: value for name, value in options.items() if name == "use_perclass_regression"}
    net = tiny(2, group_norm=True, **regression)
    found = taught(net, DetectionObjective(**{k: v for k, v in options.items() if k not in regression}), rendered)
    right = 0
    for one, true in zip(found, rendered(20, 10_000)[1], strict=True):
        good = len(one.scores) > 0 and one.classes[0] == true.classes[0]
        right += bool(good and box_iou(one.boxes[:1], true.boxes).item() > 0.5)
    assert right >= 16


@pytest.mark.parametrize("options", LEARNING)
def test_it_learns_both_concepts_of_a_region(options: dict[str, bool]) -> None:
    """Squares of the first colour are drawn for a third class, too."""

    def twice(count: int, seed: int) -> tuple[torch.Tensor, list[TrueBoxes]]:
        images, truth = rendered(count, seed)
        of_both = [TrueBoxes(one.boxes.repeat(2, 1), torch.tensor([0, 2])) for one in truth]
        return images, [both if one.classes[0] == 0 else one for one, both in zip(truth, of_both, strict=True)]

    regression = {name: value for name, value in options.items() if name == "use_perclass_regression"}
    net = tiny(3, group_norm=True, **regression)
    found = taught(net, DetectionObjective(**{k: v for k, v in options.items() if k not in regression}), twice)
    as_arrays = [
        ImageBoxes(boxes=one.boxes.numpy(), classes=one.classes.numpy(), scores=one.scores.numpy()) for one in found
    ]
    truth = [ImageBoxes(boxes=one.boxes.numpy(), classes=one.classes.numpy()) for one in twice(20, 10_000)[1]]
    figures = detection_evaluation(as_arrays, truth, 3)
    precisions = [figures.mean_ap(overlap=0.5, class_index=index) for index in range(3)]
    assert min(precisions) > 0.7, precisions


@pytest.mark.parametrize("per_class", [False, True])
def test_the_exported_network_gives_the_same_detections(tmp_path: Path, per_class: bool) -> None:
    import openvino

    net, images = tiny(use_perclass_regression=per_class).eval(), torch.randn(1, 3, 64, 96)
    nn.init.normal_(net.class_logits.weight, std=0.3)
    torch.onnx.export(DenseRetinaNet(net), (images,), str(tmp_path / "net.onnx"), dynamo=False, opset_version=17)
    model = openvino.Core().compile_model(tmp_path / "net.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    logits, offsets = (torch.from_numpy(out) for out in model(images.numpy()).values())
    anchors = net.anchors(images)
    exported = DenseOffsets(split_levels(offsets, anchors))
    (theirs,) = select(split_levels(logits, anchors), exported, anchors, [(64, 96)])
    with torch.no_grad():
        raw = net(images)
        (ours,) = select(raw.logits, net.offsets(raw), anchors, [(64, 96)])
    assert torch.equal(ours.classes, theirs.classes)
    torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours.boxes, theirs.boxes, rtol=1e-3, atol=1e-2)
