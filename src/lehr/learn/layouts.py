"""Which backbone a trained model or published weights have, told by a name or a model's sheet. Imports no torch.

So that whoever orders a training hears at once that a base does not fit, not from the worker after reading all data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lehr.errors import InvalidParams


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A backbone as backbones.py builds it, but for the size of its images."""

    backbone: str
    options: Mapping[str, Any]


PUBLISHED = {
    "inception_v3": Layout(backbone="inception_v2", options={"stem": "v3"}),
    "inception_v4": Layout(backbone="inception_v4", options={}),
    "inception_resnet_v2": Layout(backbone="inception_resnet_v2", options={}),
    "resnet101": Layout(backbone="resnet101", options={}),
    "resnext50_32x4d": Layout(backbone="resnext50", options={}),
    "tf_efficientnet_lite0": Layout(backbone="efficientnet_lite0", options={}),
    "bn_inception": Layout(backbone="bn_inception", options={}),
}
"""What published weights fit, by the name of their architecture: the part of their name before the first dot."""
BUILT_IN_TEMPLATE = "built in"
"""What the sheets of the models that come with Lehr name as their template."""
_OF_THE_IMAGES = ("image_size", "same_padding")
"""Options of a backbone that change no weight."""


def layout_of(sheet: Mapping[str, Any]) -> Layout | None:
    """The backbone inside the model of a sheet (model.json); None where it has none of those in backbones.py."""
    net = sheet.get("net") or {"name": "", "arguments": {}}
    if net["name"] == "lite":
        return PUBLISHED["tf_efficientnet_lite0"]
    if "backbone" not in net["arguments"]:
        return None
    given = net["arguments"].get("options") or {}
    options = {key: value for key, value in given.items() if key not in _OF_THE_IMAGES}
    return Layout(backbone=net["arguments"]["backbone"], options=options)


def base_of(sheet: Mapping[str, Any]) -> Layout:
    """The backbone that another network can begin with. Raises InvalidParams where the model has none to give."""
    layout = layout_of(sheet)
    if layout is None:
        raise InvalidParams(
            [
                f"A model of {sheet['template']} cannot be the base of another: its network has no separable base. "
                "Choose a model of a template with a backbone."
            ]
        )
    return layout


def check_backbone(theirs: str, own: str) -> None:
    """Raises InvalidParams where weights of one backbone are to fill another."""
    if theirs != own:
        raise InvalidParams(
            [
                f"The pretrained weights are of the network {theirs}, but this template's network is {own}: name "
                "weights of that network, or choose the template of those weights."
            ]
        )


def check_whole_embedder(sheet: Mapping[str, Any]) -> None:
    """Raises InvalidParams where the model of a sheet gives no embedding, or has no network to build on."""
    if sheet["output"] != "embedding":
        raise InvalidParams(
            [
                f"base_embed_model names a model of {sheet['template']} that gives {sheet['output']}; name a "
                "visual-embedder."
            ]
        )
    if "net" not in sheet:
        raise InvalidParams(
            [
                f"base_embed_model names a model of {sheet['template']} that has only the form that serves it, and no "
                "weights to build on; name a visual-embedder that was trained here, or the one that comes with Lehr."
            ]
        )


def check_same_template(theirs: str, own: str) -> None:
    """Raises InvalidParams where a training is to continue one of another template."""
    if theirs != own:
        raise InvalidParams(
            [
                f"resume_from_model names a model of {theirs}, but this one is of {own}: a training continues one of "
                "its own template. Another template takes a model's base as pretrained_weights."
            ]
        )
