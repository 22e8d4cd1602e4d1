"""Nearest neighbours among an app's inputs and annotated regions, and vectors of pictures to look for.

Answers from the generation that serves, embedder and all, however far the next one has got.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from lehr.errors import InvalidSearch
from lehr.index.library import Library
from lehr.index.shelf import ANNOTATION, FRAME, INPUT, SEQ, Part, Ranked, Shelf, View
from lehr.learn.bundle import read_bundle
from lehr.protocol.ids import AppRef
from lehr.services.base_workflow import embedder_of
from lehr.services.bundles import Bundles
from lehr.serving.decoders import DecoderPool
from lehr.serving.predictors import Predictors
from lehr.store import embeddings as rows
from lehr.store.db import Database
from lehr.store.versions import ModelVersionRef

Of = Literal["inputs", "annotations"]
Metric = Literal["cosine", "euclidean"]
PAGE = 8192
"""Vectors that are read from the store at once."""
Picture = bytes | np.ndarray
"""An encoded picture, or pixels: uint8 [H, W, 3]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A neighbour: an input, a region of it, or its frame at `frame_ms`."""

    input_key: int
    annotation_key: int | None
    frame_ms: int | None
    distance: float
    """By the metric asked for: 1 - cosine, or Euclidean between vectors of length 1."""
    score: float
    """0 to 1: (1 + cosine) / 2, whatever the metric."""


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Needs the store, trained bundles, decoder and predictor processes, and this process's copies of the vectors."""

    db: Database
    bundles: Bundles
    decoders: DecoderPool
    predictors: Predictors
    library: Library
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8, "embed"))

    def embedder(self, ref: AppRef) -> ModelVersionRef:
        """What made the vectors that searches compare; before the first, the default workflow's embedder.

        Raises InvalidSearch where the app has none.
        """
        with self.db.read() as tx:
            serving = rows.serving(tx, ref)
            found = serving.embedder if serving else embedder_of(tx, ref)
        if found is None:
            raise InvalidSearch(
                f"App {ref.app_id!r} has no base workflow that embeds its inputs, so nothing can be ranked by "
                "likeness. Set `default_workflow` to one with a visual-embedder, with reindex."
            )
        return found

    def embed(self, ref: AppRef, pictures: Sequence[Picture]) -> np.ndarray:
        """float32 [N, D], of length 1, by the embedder of the app's serving generation.

        Raises InvalidSearch without one, UndecodableImage, and Loading while the embedder is not ready.
        """
        folder = self.bundles.folder_of(self.embedder(ref))
        side = read_bundle(folder).preprocessing.image_size
        pixels = list(self.threads.map(lambda picture: self._pixels(picture, side), pictures))
        return unit(self.predictors.predict(folder, pixels))

    def _pixels(self, picture: Picture, side: int) -> np.ndarray:
        if isinstance(picture, np.ndarray):
            return picture
        return self.decoders.decode(picture, shorter_side=side).pixels

    def vectors_of(self, ref: AppRef, input_keys: Sequence[int]) -> dict[int, np.ndarray]:
        """Input key → its vector, float32 [D]: of a video, the mean of its frames'. Without one: no entry."""
        with self.db.read() as tx:
            serving = rows.serving(tx, ref)
            found = rows.vectors_of(tx, serving.key, input_keys) if serving else None
        return {} if found is None else _means(found, found.input_keys, found.annotation_keys == 0)

    def vectors_of_annotations(self, ref: AppRef, input_keys: Sequence[int]) -> dict[int, np.ndarray]:
        """Annotation key → its vector, for every annotated region of these inputs."""
        with self.db.read() as tx:
            serving = rows.serving(tx, ref)
            found = rows.vectors_of(tx, serving.key, input_keys) if serving else None
        return {} if found is None else _means(found, found.annotation_keys, found.annotation_keys != 0)

    def nearest(
        self,
        ref: AppRef,
        query: np.ndarray,
        *,
        among: Sequence[int] | np.ndarray | None,
        k: int,
        metric: Metric = "cosine",
        of: Of = "inputs",
    ) -> list[Found]:
        """The `k` nearest inputs (or annotated regions), the nearest first; a video counts once, by its best frame.

        `among`: keys of inputs (of annotations) to choose from; None: all of the app. Raises InvalidSearch for a vector
        of another size than the app's.
        """
        with self.db.read() as tx:
            serving = rows.serving(tx, ref)
        if serving is None or not serving.dimensions or k < 1:
            return []
        query_D = self._checked(query, serving.dimensions)
        shelf = self._shelf(serving)
        view = shelf.catch_up(serving.last_seq, lambda after: self._read(serving.key, after))
        column = INPUT if of == "inputs" else ANNOTATION
        wanted = None if among is None else np.asarray(among, np.int64)
        count = k
        while True:
            ranked = view.search(query_D, count, view.chosen(column, wanted))
            dead = self._dead(serving.key, view, ranked)
            best = _best_of_each(view.keys_N4[ranked.rows, column], ranked, dead, k)
            if len(best) == k or len(ranked.rows) < count:
                return [_found(view.keys_N4[row], cosine, metric) for row, cosine in best]
            if dead:
                view = shelf.bury(dead)
            else:
                count *= 4

    def _shelf(self, generation: rows.Generation) -> Shelf:
        def tell(recall: float) -> None:
            with self.db.write() as tx:
                rows.set_recall(tx, generation.key, recall)

        is_new = not self.library.has(generation.uid)
        shelf = self.library.shelf(generation.uid, generation.dimensions, tell)
        if is_new:
            self._tidy()
            shelf.check(lambda keys: self._is_of_store(generation.key, keys))
        return shelf

    def _tidy(self) -> None:
        """Files of generations that are no more go."""
        with self.db.read() as tx:
            standing = rows.standing(tx)
        self.library.clear(standing)

    def _is_of_store(self, generation_key: int, keys_4: np.ndarray) -> bool:
        """A number that the store has no vector under may have been deleted; another input under it is another past."""
        part = self._read(generation_key, int(keys_4[SEQ]) - 1, limit=1).keys_N4
        return not len(part) or int(part[0, SEQ]) != int(keys_4[SEQ]) or np.array_equal(part[0], keys_4)

    def _read(self, generation_key: int, after: int, limit: int = PAGE) -> Part:
        with self.db.read() as tx:
            found = rows.read(tx, generation_key, after=after, limit=limit)
        keys = np.stack([found.seqs, found.input_keys, found.annotation_keys, found.frames_ms], axis=1)
        return Part(keys_N4=keys, vectors_ND=found.values_ND)

    def _dead(self, generation_key: int, view: View, ranked: Ranked) -> set[int]:
        """Which of the rows are gone from the store."""
        seqs = view.keys_N4[ranked.rows, SEQ]
        with self.db.read() as tx:
            alive = rows.alive(tx, generation_key, seqs.tolist())
        return {int(row) for row, seq in zip(ranked.rows, seqs, strict=True) if int(seq) not in alive}

    @staticmethod
    def _checked(query: np.ndarray, dimensions: int) -> np.ndarray:
        values = np.asarray(query, np.float32).reshape(-1)
        if len(values) != dimensions:
            raise InvalidSearch(
                f"The vector has {len(values)} dimensions; those of this app have {dimensions}, as its base embedder "
                "makes them."
            )
        if not np.isfinite(values).all() or not values.any():
            raise InvalidSearch("The vector must be of finite numbers, not all of them zero.")
        return unit(values[None])[0]


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    """Brought to length 1, float32."""
    values = np.asarray(vectors_ND, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _means(found: rows.Vectors, keys: np.ndarray, taking_part: np.ndarray) -> dict[int, np.ndarray]:
    sums: dict[int, np.ndarray] = {}
    for row in np.flatnonzero(taking_part):
        key = int(keys[row])
        sums[key] = sums.get(key, 0.0) + found.values_ND[row].astype(np.float32)
    return {key: unit(total[None])[0] for key, total in sums.items()}


def _best_of_each(keys: np.ndarray, ranked: Ranked, dead: set[int], k: int) -> list[tuple[int, float]]:
    """Of every input (or region) its best row, with the cosine; the `k` nearest, the nearest first."""
    best: dict[int, tuple[int, float]] = {}
    for key, row, cosine in zip(keys.tolist(), ranked.rows.tolist(), ranked.cosines.tolist(), strict=True):
        if row not in dead and key not in best:
            best[key] = (row, cosine)
        if len(best) == k:
            break
    return list(best.values())


def _found(keys_4: np.ndarray, cosine: float, metric: Metric) -> Found:
    cosine = min(1.0, max(-1.0, cosine))
    frame = int(keys_4[FRAME])
    return Found(
        input_key=int(keys_4[INPUT]),
        annotation_key=int(keys_4[ANNOTATION]) or None,
        frame_ms=None if frame < 0 else frame,
        distance=1.0 - cosine if metric == "cosine" else (2.0 - 2.0 * cosine) ** 0.5,
        score=(1.0 + cosine) / 2.0,
    )
