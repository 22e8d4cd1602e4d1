"""Every network by the name that model.json keeps, each in a file of its own. The dictionary is the list."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lehr.errors import InvalidModel

if TYPE_CHECKING:
    from torch import nn

NETS = {
    "airbench": "lehr.learn.nets.airbench:Airbench",
    "lite": "lehr.learn.nets.lite:Lite",
    "classifier": "lehr.learn.nets.classifier:Classifier",
    "embedder": "lehr.learn.nets.embedder:Embedder",
    "angular": "lehr.learn.nets.angular_embedder:AngularEmbedder",
    "embedding_classifier": "lehr.learn.nets.embedding_classifier:EmbeddingClassifier",
    "detector": "lehr.learn.detection.detector:detector",
}
"""name -> module:class; the class takes the arguments that model.json keeps, and loads no weights."""


def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A network with fresh weights. Raises InvalidModel when this Lehr has no network of that name."""
    if name not in NETS:
        raise InvalidModel(f"This model needs the network {name!r}; this Lehr has: {', '.join(NETS)}.")
    module, class_name = NETS[name].split(":")
    return getattr(importlib.import_module(module), class_name)(**arguments)
