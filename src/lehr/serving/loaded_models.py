"""The models that a predictor process holds in memory; the least recently used leave when room is needed.

A framework may keep memory that it does not use (torch does on a GPU): a predictor's `give_back` is asked to let go of
it when a model has left, and by the others here when they find that it is wanted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lehr.errors import LehrError, ModelNotFound

_CHUNK_SIZE = 8


class Predicts(Protocol):
    """What is served: pictures in, one output of equal shape for each out."""

    def predict(self, images: list[np.ndarray], /) -> Sequence[np.ndarray] | np.ndarray:
        """Outputs, in order, of uint8 [h, w, 3] pictures of any sizes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A predictor and what its host must know of it."""

    predictor: Predicts
    num_bytes: int
    """Memory that it takes, as its `num_bytes` or the files of its folder say."""
    chunk_size: int
    """Images that it computes best together, as its `chunk` says."""
    lanes: int = 1
    """Chunks that it computes best at once, as its `lanes` says."""
    give_back: Callable[[], None] = lambda: None
    """Lets other processes have memory that is kept without being used, as its `give_back` says; holds no model."""


class LoadedModels:
    """Loads each folder once, however many threads ask; holds about `memory_bytes` of them. Thread-safe."""

    def __init__(self, load: Callable[[Path], Predicts], memory_bytes: int) -> None:
        self._load = load
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._models: OrderedDict[tuple[Path, int], Future[LoadedModel]] = OrderedDict()

    def get(self, folder: Path, timeout: float) -> LoadedModel:
        """The model in `folder`, loaded now if need be. Raises ModelNotFound, TimeoutError, or what loading raised."""
        key = (folder, _identity(folder))
        with self._lock:
            is_new = key not in self._models
            model = self._models.setdefault(key, Future())
            self._models.move_to_end(key)
        if is_new:
            self._fill(key, model)
        return model.result(timeout=timeout)

    def names(self) -> list[str]:
        """Folders of the models in memory, the least recently used first."""
        with self._lock:
            return [str(folder) for (folder, _), model in self._models.items() if model.done()]

    def give_back(self) -> None:
        """Lets other processes have what is kept for the models here without being used."""
        with self._lock:
            ways = {model.result().give_back for model in self._models.values() if _is_loaded(model)}
        for give_back in ways:
            give_back()

    def _fill(self, key: tuple[Path, int], model: Future[LoadedModel]) -> None:
        """Loads in the caller's thread; a failure is forgotten, so that the next request tries again."""
        folder = key[0]
        try:
            predictor = self._load(folder)
        except Exception as error:
            with self._lock:
                self._models.pop(key, None)
            model.set_exception(_explained(error, folder))
            return
        model.set_result(_loaded(predictor, folder))
        for give_back in self._make_room(key):
            give_back()

    def _make_room(self, newest: tuple[Path, int]) -> set[Callable[[], None]]:
        """Lets go of the least recently used. Requests under way keep theirs until they are answered.

        Returns what gives the memory of those that left back.
        """
        ways = set()
        with self._lock:
            loaded = {key: model.result().num_bytes for key, model in self._models.items() if _is_loaded(model)}
            excess = sum(loaded.values()) - self._memory_bytes
            for key, num_bytes in loaded.items():
                if excess > 0 and key != newest:
                    ways.add(self._models.pop(key).result().give_back)
                    excess -= num_bytes
        return ways


def _loaded(predictor: Predicts, folder: Path) -> LoadedModel:
    return LoadedModel(
        predictor=predictor,
        num_bytes=getattr(predictor, "num_bytes", None) or _size(folder),
        chunk_size=getattr(predictor, "chunk", _CHUNK_SIZE),
        lanes=getattr(predictor, "lanes", 1),
        give_back=getattr(predictor, "give_back", _nothing),
    )


def _nothing() -> None:
    """Of predictors that keep nothing."""


def _is_loaded(model: Future[LoadedModel]) -> bool:
    return model.done() and model.exception() is None


def _identity(folder: Path) -> int:
    """Tells a folder from a later one of the same name: a bundle is written beside its place and renamed into it."""
    try:
        return folder.stat().st_ino
    except OSError:
        raise ModelNotFound(f"The model's folder {folder.name} is not there any more. Train the model again.") from None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _explained(error: Exception, folder: Path) -> LehrError:
    if isinstance(error, LehrError):
        return error
    return LehrError(f"The model in {folder.name} could not be loaded: {type(error).__name__}: {error}")
