"""Small arrays on their way to the training device, without making it wait."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch


def uploaded(array: np.ndarray, place: torch.device | str) -> torch.Tensor:
    """The array as a tensor on `place`; as `sent`."""
    return sent(torch.from_numpy(np.ascontiguousarray(array)), place)


def sent(tensor: torch.Tensor, place: torch.device | str) -> torch.Tensor:
    """A tensor of the processor's on `place`. A GPU gets it from pinned memory, in the order of its work.

    A copy from ordinary memory would first wait until the GPU has done all that it was given.
    """
    if torch.device(place).type != "cuda":
        return tensor
    with torch.cuda.device(place):  # memory is pinned by the current GPU, which each thread has of its own
        return tensor.pin_memory().to(place, non_blocking=True)


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], place: torch.device) -> torch.Tensor:
    """float32 [len(values)] on `place`, the same tensor each time: not to be changed."""
    with torch.inference_mode(False):  # it may be made while judging, and used while learning
        return torch.tensor(values, device=place)
