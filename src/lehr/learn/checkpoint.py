"""A training's state as one blob of bytes: safetensors and JSON, hashed; nothing is pickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from lehr.errors import LehrError

FORMAT = 1
_MAGIC = b"LEHR checkpoint\n"


class CheckpointDamaged(LehrError):
    """The bytes are no whole checkpoint of a known format."""

    code = 21106


@dataclass(frozen=True, kw_only=True)
class State:
    """All that a resumed run needs; independent of the process and device that made it."""

    tensors: Mapping[str, torch.Tensor]
    """On the CPU. "net/…" the weights, "optimiser/…" its memory, "lookahead/…" the slow average, "loss_sum"."""
    facts: Mapping[str, Any]
    """JSON: step, epoch, step_in_epoch, items_in_epoch, history, recipe and data hashes, threads, …"""

    def part(self, name: str) -> dict[str, torch.Tensor]:
        """Tensors below `name/`, without that prefix."""
        prefix = f"{name}/"
        return {key[len(prefix) :]: value for key, value in self.tensors.items() if key.startswith(prefix)}


def save(state: State) -> bytes:
    """One blob: magic line, SHA-256 of what follows, then safetensors with the facts in its header."""
    facts = json.dumps({"format": FORMAT, **state.facts})
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    body = save_tensors(tensors, metadata={"lehr": facts})
    return _MAGIC + hashlib.sha256(body).digest() + body


def load(data: bytes) -> State:
    """The inverse of `save`. Raises CheckpointDamaged when anything is missing, changed or of another format."""
    head = len(_MAGIC) + 32
    if not data.startswith(_MAGIC):
        raise CheckpointDamaged("These bytes are no checkpoint of Lehr.")
    body = data[head:]
    if hashlib.sha256(body).digest() != data[len(_MAGIC) : head]:
        raise CheckpointDamaged(f"The checkpoint of {len(data)} bytes is damaged: its hash does not match.")
    try:
        tensors = load_tensors(body)
        length = int.from_bytes(body[:8], "little")
        facts = json.loads(json.loads(body[8 : 8 + length])["__metadata__"]["lehr"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointDamaged(f"The checkpoint cannot be read: {error}.") from error
    if facts.pop("format") != FORMAT:
        raise CheckpointDamaged(f"The checkpoint has another format than {FORMAT}; train again with this Lehr.")
    return State(tensors=tensors, facts=facts)
