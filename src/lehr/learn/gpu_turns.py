"""Who computes on a GPU of this machine: trainings share it, and measured steps never run beside one.

They fill the memory for seconds, and a training that needs a little more just then would end. A lock on a file says who
is there; it goes with the process that holds it.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch

from lehr.errors import Busy
from lehr.learn.device import Device

_PAUSE_SECONDS = 0.2


@contextmanager
def training_on(device: Device, folder: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Around a training. Begins when no steps are being measured on this GPU; on a processor at once.

    `on_wait` is called a few times a second until then; what it raises ends the waiting.
    """
    if not device.is_cuda:
        yield
        return
    with _file(device, folder) as file:
        while not _is_locked(file, fcntl.LOCK_SH):
            on_wait()
            time.sleep(_PAUSE_SECONDS)
        yield


@contextmanager
def measuring_on(device: Device, folder: Path) -> Iterator[None]:
    """Around measured steps. Raises Busy while a training computes on this GPU."""
    if not device.is_cuda:
        yield
        return
    with _file(device, folder) as file:
        if not _is_locked(file, fcntl.LOCK_EX):
            raise Busy(
                f"A training computes on {device.name}, and steps that are measured beside it could make it run out of "
                "memory. Ask again when it has ended."
            )
        yield


def _file(device: Device, folder: Path) -> IO[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / f"{_identity(device)}.lock").open("ab")


def _identity(device: Device) -> str:
    """The same in every process, whichever GPUs it sees."""
    return str(torch.cuda.get_device_properties(device.name).uuid)


def _is_locked(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
