"""A detector from the plain values that a model keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lehr.learn.detection.anchors import Anchors
from lehr.learn.detection.retinanet import DetectorShape, RetinaNet
from lehr.learn.nets.backbones import build_for_detection

HEADS = {"standard": {"channels": 256, "depth": 4}, "lite": {"channels": 128, "depth": 2}}


def detector(
    *,
    backbone: str,
    num_concepts: int,
    anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    use_perclass_regression: bool = False,
    head: Literal["standard", "lite"] = "standard",
    options: dict[str, Any] | None = None,
) -> RetinaNet:
    """Build a RetinaNet with random weights.

    Args:
        backbone: a name of `backbones.BACKBONES`.
        num_concepts: number of classes.
        anchor_ratios: widths divided by heights of the anchors.
        use_perclass_regression: one box regressor per class and anchor instead of one per anchor.
        head: 256 channels and four layers, or 128 and two (half the work of the whole with a light backbone).
        options: `group_norm` for heads that start together with a random backbone; the rest is the backbone's.
    """
    rest = dict(options or {})
    shape = DetectorShape(
        num_classes=num_concepts,
        anchors=Anchors(ratios=tuple(anchor_ratios)),
        use_perclass_regression=use_perclass_regression,
        group_norm=bool(rest.pop("group_norm", False)),
        **HEADS[head],
    )
    return RetinaNet(build_for_detection(backbone, **rest), shape)
