"""Several looks at each picture, answered together and averaged. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def averaged(
    run: Callable[[np.ndarray], np.ndarray], pictures: Sequence[np.ndarray], chunk: int = 0
) -> list[np.ndarray]:
    """Per picture the mean, float32 [K], of what `run` gives for its views.

    `pictures`: uint8 [V, S, S, 3] each, V may differ. `run`: uint8 [N, S, S, 3] -> float32 [N, K], called with at most
    `chunk` crops at a time (0: with all).
    """
    if not pictures:
        return []
    crops_NSSC = np.concatenate(pictures)
    step = chunk or len(crops_NSSC)
    outputs_NK = np.concatenate([run(crops_NSSC[start : start + step]) for start in range(0, len(crops_NSSC), step)])
    borders = np.cumsum([len(picture) for picture in pictures])[:-1]
    return [part.mean(axis=0, dtype=np.float32) for part in np.split(outputs_NK, borders)]


def unit(vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Each vector brought to length 1: the mean of several embeddings is shorter."""
    return [vector / max(float(np.linalg.norm(vector)), 1e-12) for vector in vectors]
