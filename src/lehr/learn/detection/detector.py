"""A detector from the plain values that a model keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lehr.learn.detection.anchors import anchors_of
from lehr.learn.detection.retinanet import DetectorShape, RetinaNet
from lehr.learn.nets.backbones import build_for_detection

HEADS = {"standard": {"channels": 256, "depth": 4}, "lite": {"channels": 128, "depth": 2}}


def detector(  # noqa: PLR0913 - the plain values that model.json keeps
    *,
    backbone: str,
    num_concepts: int,
    anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    anchor_scale: float = 1.0,
    use_perclass_regression: bool = False,
    head: Literal["standard", "lite"] = "standard",
    group_norm: bool = False,
    options: dict[str, Any] | None = None,
) -> RetinaNet:
    """Build a RetinaNet with random weights.

    Args:
        backbone: a name of `backbones.BACKBONES`.
        num_concepts: number of classes.
        anchor_ratios: widths divided by heights of the anchors.
        anchor_scale: factor of the anchors' sizes, below 1 for small pictures.
        use_perclass_regression: one box regressor per class and anchor instead of one per anchor.
        head: 256 channels and four layers, or 128 and two (half the work of the whole with a light backbone).
        group_norm: for heads that start together with a random backbone, or that have few steps to learn in.
        options: of the backbone.
    """
    shape = DetectorShape(
        num_classes=num_concepts,
        anchors=anchors_of(anchor_ratios, anchor_scale),
        use_perclass_regression=use_perclass_regression,
        group_norm=group_norm,
        **HEADS[head],
    )
    return RetinaNet(build_for_detection(backbone, **(options or {})), shape)
