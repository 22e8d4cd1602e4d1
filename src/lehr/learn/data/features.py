"""What a frozen base makes of a pack's pictures, computed once and kept beside the pack.

A file of features is named by the base and its weights, the preprocessing and the view; where another pack of the same
size has features of the same picture they are copied. Shapes: N pictures of the pack, D features, B batch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lehr.learn.data.crops import View
from lehr.learn.data.images import Images
from lehr.learn.data.normalise import normalised
from lehr.learn.data.packs import Pack, read_pack
from lehr.learn.device import Device
from lehr.learn.events import Preparing
from lehr.learn.preprocessing import Preprocessing

_BATCH = 32
STAGE = "computing features"
"""What `Preparing` events call this."""


def cached_features(
    base: nn.Module, weights_sha256: str, pack: Pack, preprocessing: Preprocessing, view: View, device: Device
) -> Generator[Preparing, None, torch.Tensor]:
    """float16 [N, D] on the CPU: what `base` (normalised [B, 3, S, S] -> [B, D]) makes of one view of each picture.

    Computed in batches of 32 in the pack's order, or read. `weights_sha256` names the base's weights.
    """
    name = features_name(base, weights_sha256, preprocessing, view, device)
    path = pack.folder / name
    if not path.is_file():
        known = _borrowed(pack, name)
        missing = [row for sha256, row in pack.rows.items() if sha256 not in known]
        computed: list[np.ndarray] = []
        for done, batch_BD in _computed(base, np.array(missing, dtype=np.int64), pack, preprocessing, view, device):
            computed.append(batch_BD)
            yield Preparing(stage=STAGE, done=done, total=len(missing))
        features_ND = _joined(
            pack, known, dict(zip(missing, (row for batch in computed for row in batch), strict=True))
        )
        _write(path, features_ND)
    return torch.from_numpy(np.load(path, allow_pickle=False))


def features_name(
    base: nn.Module, weights_sha256: str, preprocessing: Preprocessing, view: View, device: Device
) -> str:
    """The file's name: a hash of all that determines the numbers.

    The same weights fill different networks: with another stem for small pictures, say. Written out, they differ.
    """
    one_view = replace(preprocessing, views=(view,)).to_json()
    facts = json.dumps([3, str(base), weights_sha256, one_view, device.is_bf16, device.is_cuda], sort_keys=True)
    return f"features-{hashlib.sha256(facts.encode()).hexdigest()[:32]}.npy"


def _computed(
    base: nn.Module, rows: np.ndarray, pack: Pack, preprocessing: Preprocessing, view: View, device: Device
) -> Iterator[tuple[int, np.ndarray]]:
    """(pictures done, float16 [B, D]) per batch."""
    images = Images(pack, device)
    base.eval()
    for start in range(0, len(rows), _BATCH):
        rows_B = rows[start : start + _BATCH]
        x_BCSS = normalised(images.crops(view.crops(pack, rows_B, preprocessing.side)), preprocessing)
        with torch.inference_mode(), device.autocast():
            features_BD = base(x_BCSS)
        yield start + len(rows_B), features_BD.to(torch.float16).cpu().numpy()


def _borrowed(pack: Pack, name: str) -> dict[str, np.ndarray]:
    """Features of the same pictures in other packs, by content hash."""
    found: dict[str, np.ndarray] = {}
    for path in pack.folder.parent.glob(f"{pack.image_size}-*/{name}"):
        other = read_pack(path.parent)
        features_ND = np.load(path, mmap_mode="r", allow_pickle=False)
        found |= {sha256: features_ND[row] for sha256, row in other.rows.items() if sha256 in pack.rows}
    return found


def _joined(pack: Pack, known: dict[str, np.ndarray], computed: dict[int, np.ndarray]) -> np.ndarray:
    return np.stack([computed[row] if row in computed else known[sha256] for sha256, row in pack.rows.items()])


def _write(path: Path, features_ND: np.ndarray) -> None:
    """Appears whole or not at all."""
    partial = path.with_suffix(f".partial-{os.getpid()}")
    with partial.open("wb") as file:
        np.save(file, features_ND, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
