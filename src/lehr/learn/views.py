"""Several looks at each picture, answered together and averaged. No torch.

Shapes: V views of a picture, H and W of a view, N views in a call, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Run = Callable[[np.ndarray], np.ndarray]
"""uint8 [N, H, W, 3] -> float32 [N, K]."""


def averaged(run: Run, pictures: Sequence[np.ndarray], chunk: int = 0) -> list[np.ndarray]:
    """Per picture the mean, float32 [K], of what `run` gives for its views; views of one size are answered together.

    `pictures`: uint8 [V, H, W, 3] each, V, H and W may differ. `run` gets at most `chunk` squares at a time (0: all of
    a size), where a rectangle counts as the squares that it would cover.
    """
    means: dict[int, np.ndarray] = {}
    for places in _of_one_size(pictures).values():
        alike = [pictures[place] for place in places]
        means.update(zip(places, _means(run, alike, _at_most(chunk, alike[0].shape[1:3])), strict=True))
    return [means[place] for place in range(len(pictures))]


def unit(vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Each vector brought to length 1: the mean of several embeddings is shorter."""
    return [vector / max(float(np.linalg.norm(vector)), 1e-12) for vector in vectors]


def _means(run: Run, alike: Sequence[np.ndarray], at_most: int) -> list[np.ndarray]:
    views_NHWC = np.concatenate(alike)
    step = at_most or len(views_NHWC)
    outputs_NK = np.concatenate([run(views_NHWC[start : start + step]) for start in range(0, len(views_NHWC), step)])
    borders = np.cumsum([len(picture) for picture in alike])[:-1]
    return [part.mean(axis=0, dtype=np.float32) for part in np.split(outputs_NK, borders)]


def _of_one_size(pictures: Sequence[np.ndarray]) -> dict[tuple[int, ...], list[int]]:
    """(height, width) -> places of the pictures whose views have it."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(pictures):
        places.setdefault(picture.shape[1:3], []).append(place)
    return places


def _at_most(chunk: int, size: tuple[int, ...]) -> int:
    squares = -(-max(size) // min(size))
    return max(1, chunk // squares) if chunk else 0
