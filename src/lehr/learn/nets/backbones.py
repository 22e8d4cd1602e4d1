"""Every backbone by the name that a model keeps. The dictionary is the list; nothing is imported before it is built."""

from __future__ import annotations

import importlib
from typing import Any

from lehr.errors import InvalidModel
from lehr.learn.nets.backbone import Backbone

BACKBONES = {
    "inception_v2": "lehr.learn.nets.inception_v2:inception_v2",
    "bn_inception": "lehr.learn.nets.bn_inception:bn_inception",
    "inception_v4": "lehr.learn.nets.inception_v4:inception_v4",
    "inception_resnet_v2": "lehr.learn.nets.inception_resnet_v2:inception_resnet_v2",
    "resnet101": "lehr.learn.nets.resnet:resnet101",
    "resnext50": "lehr.learn.nets.resnet:resnext50",
    "efficientnet_lite0": "lehr.learn.nets.efficientnet_lite:efficientnet_lite0",
}
"""name -> module:function; the function's keyword arguments are the options."""

PADDED_FOR_DETECTORS = ("bn_inception", "resnet101", "resnext50")
"""Those whose maps are registered with the image as they are; the others have the option `same_padding`."""


def build_backbone(name: str, **options: Any) -> Backbone:
    """A backbone with random weights. Raises InvalidModel when there is none of that name."""
    if name not in BACKBONES:
        raise InvalidModel(f"There is no backbone {name!r}; there are: {', '.join(BACKBONES)}.")
    module, function = BACKBONES[name].split(":")
    return getattr(importlib.import_module(module), function)(**options)


def build_for_detection(name: str, **options: Any) -> Backbone:
    """As `build_backbone`, with maps at exact strides."""
    return build_backbone(name, **options, **({} if name in PADDED_FOR_DETECTORS else {"same_padding": True}))
