"""A GPU that is only pretended: tensors that were moved to it stay in the processor's memory, and remember where they
would be. What a GPU would refuse is refused: tensors of two places in one operation, an array of what lies there. What
the processor would wait for is written down.

It shows on any machine that everything lies where it is computed; it says nothing of kernels, speed, memory or numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch._dynamo  # here, for optimisers import it, and it looks at what is pretended
from torch.overrides import TorchFunctionMode, resolve_name

from lehr.learn import advance

GPU, CPU = torch.device("cuda:0"), torch.device("cpu")
MEMORY_BYTES = 16 << 30
_T: Any = torch.Tensor

_READ = {_T.item, _T.tolist, _T.__bool__, _T.__float__, _T.__int__, _T.__index__}
_OF_UNKNOWN_SIZE = {torch.nonzero, _T.nonzero, torch.masked_select, _T.masked_select, torch.unique, _T.unique}
_WAITED_FOR = _READ | _OF_UNKNOWN_SIZE
_ARRAYS = {_T.numpy, _T.__array__}
_INDEXING = {_T.__getitem__, _T.__setitem__}
_AS_THEIR_FIRST = {_T.copy_, _T.__deepcopy__, torch._has_compatible_shallow_copy_type}
"""Their other tensors may lie anywhere."""
_FROM_NUMBERS = {torch.tensor, torch.as_tensor}


class PretendedGpu(TorchFunctionMode):
    """Where each tensor would be is an attribute of it; without one it is the processor's."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        """What made the processor wait for the GPU, in order."""
        self.own: dict[Any, Callable[..., Any]] = {
            _T.device.__get__: place_of,
            _T.is_cuda.__get__: lambda tensor: place_of(tensor) == GPU,
            _T.data.__set__: _set_data,
            _T.to: self._to,
            _T.cpu: lambda tensor: self._moved(tensor, CPU, was_pinned=False),
            _T.pin_memory: _pinned,
            _T.backward: self._backward,
        }

    def __torch_function__(
        self, function: Any, types: object, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function in self.own:
            return self.own[function](*args, **kwargs)
        place = self._place_of_result(function, args, kwargs)
        found = function(*args, **kwargs)
        for tensor in _tensors([found]):
            _put(tensor, place)
        return found

    def _place_of_result(self, function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> torch.device:
        """Raises where a GPU would. A wish for the GPU becomes one for the processor in `kwargs`."""
        if function in _AS_THEIR_FIRST:
            return place_of(args[0])
        given = list(_tensors([*args, *kwargs.values()]))
        if kwargs.get("device") is not None:
            wished, kwargs["device"] = _device(kwargs["device"]), CPU
            if wished == GPU and function in _FROM_NUMBERS and not any(place_of(each) == GPU for each in given):
                self.waits.append(_name(function))
            return wished
        if function in _ARRAYS and place_of(given[0]) == GPU:
            raise TypeError(f"can't convert {GPU} device type tensor to numpy")
        if function in _INDEXING:
            return self._place_of_indexed(function, args)
        place = _common_place(function, given)
        if place == GPU and (function in _WAITED_FOR or (function is torch.where and len(args) == 1)):
            self.waits.append(_name(function))
        return place

    def _place_of_indexed(self, function: Any, args: Sequence[Any]) -> torch.device:
        """A GPU's tensor may be indexed by the processor's, which are brought there, but not the other way round."""
        place, indices = place_of(args[0]), list(_tensors([args[1]]))
        strange = [each for each in [*indices, *_tensors(args[2:])] if each.dim() and place_of(each) == GPU]
        if place == CPU and strange:
            raise RuntimeError(f"{_name(function)}: indices and values should be on cpu, as the tensor is")
        if place == GPU and any(place_of(index) == CPU or index.dtype == torch.bool for index in indices):
            self.waits.append(_name(function))
        return place

    def _to(self, tensor: torch.Tensor, *args: Any, non_blocking: bool = False, **kwargs: Any) -> torch.Tensor:
        """torch.Tensor.to(device, dtype, …), (dtype, …) and (other tensor, …)."""
        here, rest, place = place_of(tensor), list(args), kwargs.pop("device", None)
        if rest and isinstance(rest[0], torch.Tensor):
            place, rest[0] = place_of(rest[0]), rest[0].dtype
        elif rest and not isinstance(rest[0], torch.dtype):
            place = rest.pop(0)
        if rest and rest[0] is not None:
            kwargs["dtype"] = rest[0]
        if len(rest) > 1:
            non_blocking = rest[1]
        changed = tensor.to(**kwargs) if kwargs else tensor
        _put(changed, here)
        was_pinned = non_blocking and getattr(tensor, "_is_pinned", False)
        return self._moved(changed, here if place is None else _device(place), was_pinned=was_pinned)

    def _moved(self, tensor: torch.Tensor, place: torch.device, *, was_pinned: bool) -> torch.Tensor:
        here = place_of(tensor)
        if here == place:
            return tensor
        if not was_pinned:
            self.waits.append(f"{here} to {place}")
        moved = tensor.clone()
        _put(moved, place)
        return moved

    def _backward(self, tensor: torch.Tensor, gradient: torch.Tensor | None = None, **options: Any) -> None:
        with self:  # what is computed again on the way
            torch.autograd.backward(tensor, gradient, **options)


@contextlib.contextmanager
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    """torch has one GPU meanwhile, in this thread and in those that make batches."""
    gpu, autocast = PretendedGpu(), torch.autocast
    make_subclass: Any = _T._make_subclass
    by_place: Any = torch._C._group_tensors_by_device_and_dtype  # type: ignore[attr-defined]

    def made(kind: type, data: torch.Tensor, *args: Any) -> torch.Tensor:
        found = make_subclass(kind, data, *args)
        _put(found, place_of(data))
        return found

    def grouped(lists: list[list[torch.Tensor]], *args: Any) -> dict[Any, Any]:
        return {(place_of(found[0][0][0]), kind): found for (_, kind), found in by_place(lists, *args).items()}

    def threads(*args: Any, **kwargs: Any) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(*args, initializer=gpu.__enter__, **kwargs)

    with monkeypatch.context() as patch:
        for name, answer in _ANSWERS.items():
            patch.setattr(torch.cuda, name, answer)
        patch.setattr(torch, "autocast", lambda kind, **options: autocast("cpu", **options))
        patch.setattr(_T, "_make_subclass", staticmethod(made))
        patch.setattr(torch._C, "_group_tensors_by_device_and_dtype", grouped)
        patch.setattr(advance, "ThreadPoolExecutor", threads)
        with gpu:
            yield gpu


_ANSWERS: dict[str, Callable[..., Any]] = {
    "is_available": lambda: True,
    "is_current_stream_capturing": lambda: False,
    "device_count": lambda: 1,
    "device": lambda place: contextlib.nullcontext(),
    "set_device": lambda place: None,
    "synchronize": lambda place: None,
    "empty_cache": lambda: None,
    "get_arch_list": lambda: ["sm_80"],
    "get_device_capability": lambda place: (8, 0),
    "get_device_name": lambda place: "a pretended GPU",
    "get_device_properties": lambda place: SimpleNamespace(uuid="pretended", total_memory=MEMORY_BYTES),
    "mem_get_info": lambda place: (MEMORY_BYTES, MEMORY_BYTES),
    "memory_reserved": lambda place: 0,
    "memory_allocated": lambda place: 0,
    "max_memory_reserved": lambda place: 0,
    "get_rng_state": lambda place: torch.zeros(0, dtype=torch.uint8),
    "set_rng_state": lambda state, place: None,
}


def place_of(tensor: torch.Tensor) -> torch.device:
    """Where it would be."""
    return getattr(tensor, "_place", CPU)


def _put(tensor: torch.Tensor, place: torch.device) -> None:
    tensor._place = place  # type: ignore[attr-defined]


def _set_data(tensor: torch.Tensor, data: torch.Tensor) -> None:
    tensor.data = data
    _put(tensor, place_of(data))


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    assert place_of(tensor) == CPU, "only the processor's memory can be pinned"
    found = tensor.clone()
    found._is_pinned = True  # type: ignore[attr-defined]
    return found


def _common_place(function: Any, given: Sequence[torch.Tensor]) -> torch.device:
    """Of all; a lone number of the processor's goes with anything."""
    places = {place_of(tensor) for tensor in given if tensor.dim() or place_of(tensor) == GPU} or {CPU}
    if len(places) > 1:
        where = ", ".join(f"{place_of(tensor)} {list(tensor.shape)}" for tensor in given)
        raise RuntimeError(f"Expected all tensors to be on the same device: {_name(function)}: {where}")
    return places.pop()


def _device(place: Any) -> torch.device:
    return GPU if torch.device(place).type == "cuda" else torch.device(place)


def _name(function: Any) -> str:
    return str(resolve_name(function) or function)


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())
