"""What a network's base begins with: published weights, a trained model of one's own, or nothing at all.

Decided before the training, told to the person, and kept with the model; never silently random.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lehr.errors import InvalidParams
from lehr.learn.bundle import Bundle, read_bundle
from lehr.learn.layouts import BUILT_IN_TEMPLATE, PUBLISHED, Layout, base_of, layout_of
from lehr.learn.nets.backbone import Backbone, load_in_order, published_keys
from lehr.learn.problem import NONE, Problem
from lehr.learn.weights import Provenance, find_weights


@dataclass(frozen=True, kw_only=True)
class BaseWeights:
    """Where a base's first weights come from."""

    provenance: Provenance | None
    """None: random weights."""
    why: str = ""
    """Where they are random: the sentence that says why."""
    mean: tuple[float, float, float] | None = None
    """Of the pixels that the weights expect, red to blue, in [0, 1]; None: as the template likes it."""
    std: tuple[float, float, float] | None = None
    layout: Layout | None = None
    """The backbone that they fit, where it is known."""
    is_whole: bool = False
    """They fill a whole embedder, not only its backbone."""
    tensors: Callable[[], Mapping[str, Tensor]] = field(default=dict, repr=False)
    """Reads them."""

    @property
    def are_pretrained(self) -> bool:
        """False for random weights."""
        return self.provenance is not None

    @property
    def sha256(self) -> str:
        """Names the weights in caches."""
        assert self.provenance, "random weights have no name"
        return self.provenance.sha256

    def fill(self, base: nn.Module) -> None:
        """Lays the weights into `base`; does nothing where they are random. Raises InvalidParams if they do not fit."""
        if self.provenance:
            fill(base, self.tensors(), self.provenance.name)

    def to_json(self) -> dict[str, Any]:
        """As kept in model.json."""
        return self.provenance.to_json() if self.provenance else {"name": NONE, "why": self.why}


def choose_base(wanted: str | None, own: str, problem: Problem) -> BaseWeights:
    """The weights that a template's base begins with.

    Args:
        wanted: what the person asked for: a name, "none", or None for the template's own.
        own: name of the template's own weights, "" where it has none.
        problem: says which folders hold weights, and which trained model the person means.

    Raises InvalidParams when weights that were asked for by name cannot be had.
    """
    folder = problem.earlier or problem.base
    if folder:
        return of_model(folder)
    if wanted and wanted != NONE:
        return _named(wanted, problem.weights)
    if wanted == NONE or not own:
        why = "pretrained_weights is none" if wanted else "this template has no pretrained weights of its own"
        return BaseWeights(provenance=None, why=why)
    try:
        return _named(own, problem.weights)
    except InvalidParams as error:
        return BaseWeights(provenance=None, why=error.details.rstrip("."))


def check_weights(wanted: str, folder: Path | None, weights: Path | None) -> None:
    """Before any picture is read: raises InvalidParams when weights that were asked for by name cannot be had.

    `folder` is that of the trained model that is meant, if one is; `weights` that of published ones.
    """
    if wanted and wanted != NONE and folder is None:
        _named(wanted, weights)


def scratch_notice(weights: BaseWeights) -> str:
    """What the person must know about a training without pretrained weights."""
    return (
        f"STARTING FROM RANDOM WEIGHTS: {weights.why}. The whole network is trained from scratch, its norms included: "
        "expect to need many more pictures and epochs than with a pretrained base. "
        "Lehr_Lite has a pretrained base that needs no download."
    )


def of_model(folder: Path) -> BaseWeights:
    """The base of a model that Lehr trained. Raises InvalidParams where it has none that another network could use."""
    bundle = read_bundle(folder)
    path = folder / "model.safetensors"
    before = bundle.details["pretrained"]
    is_built_in = bundle.template == BUILT_IN_TEMPLATE
    provenance = Provenance(
        name=str(before["name"]) if is_built_in else f"{bundle.template} trained here",
        source="built in" if is_built_in else "a trained model",
        licence=str(before.get("licence", "your own")),
        sha256=_sha256(str(path), path.stat().st_mtime_ns),
    )
    return BaseWeights(
        provenance=provenance,
        mean=bundle.preprocessing.mean,
        std=bundle.preprocessing.std,
        layout=layout_of(bundle.details),
        tensors=lambda: _base_of(bundle),
    )


def of_embedder(folder: Path) -> BaseWeights:
    """All of an embedder that Lehr trained, to be used as it is."""
    from safetensors.torch import load_file

    return replace(of_model(folder), is_whole=True, tensors=lambda: load_file(folder / "model.safetensors"))


def fill(base: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Lays tensors of the same architecture into a base, whatever they are called; a classifying layer is left out.

    Raises InvalidParams where they do not fit.
    """
    own = base.state_dict()
    try:
        if all(key in tensors and tensors[key].shape == value.shape for key, value in own.items()):
            base.load_state_dict({key: tensors[key] for key in own})
        elif any(key.startswith("InceptionV2/") for key in tensors) and isinstance(base, Backbone):
            _fill_from_tf_slim(base, tensors)
        elif isinstance(base, Backbone) and _is_published(base, tensors):
            base.load_published(tensors)
        else:
            load_in_order(base, list(tensors), tensors)
    except ValueError as error:
        raise InvalidParams([f"The weights {name!r} are of another network than this template's: {error}"]) from error


def _named(name: str, folder: Path | None) -> BaseWeights:
    model = folder / name if folder else None
    if model and (model / "model.json").is_file():
        return of_model(model)
    tensors, provenance = find_weights(name, folder)
    mean, std = _pixels_of(name)
    layout = PUBLISHED.get(name.split(".", maxsplit=1)[0])
    return BaseWeights(provenance=provenance, mean=mean, std=std, layout=layout, tensors=lambda: tensors)


def _pixels_of(name: str) -> tuple[Any, Any]:
    """Mean and deviation that published weights expect, where they are known."""
    import timm

    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config is None or not (config.url or config.hf_hub_id):
        return None, None
    return config.mean, config.std


def _base_of(bundle: Bundle) -> Mapping[str, Tensor]:
    """The tensors of a trained model's base, in the network's order."""
    from safetensors.torch import load_file

    from lehr.learn.nets.catalogue import build

    base_of(bundle.details)  # refuses what has none
    with torch.device("meta"):
        base: nn.Module = build(bundle.details["net"]["name"], bundle.details["net"]["arguments"]).base  # type: ignore
    tensors = load_file(bundle.folder / "model.safetensors")
    return {key: tensors[f"base.{key}"] for key in base.state_dict()}


def _is_published(base: Backbone, tensors: Mapping[str, Tensor]) -> bool:
    return bool(base.published_as) and all(key in tensors for key in published_keys(base.published_as))


def _fill_from_tf_slim(base: Backbone, tensors: Mapping[str, Tensor]) -> None:
    from lehr.learn.nets.bn_inception import load_tf_slim

    load_tf_slim(base, {name: value.numpy() for name, value in tensors.items()})


@cache
def _sha256(path: str, changed_ns: int) -> str:
    """Of a file's bytes; `changed_ns` only makes a changed file another one."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
