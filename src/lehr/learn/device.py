"""Where and how precisely to compute: the processor or a CUDA device, bfloat16 where the hardware has it."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from lehr.errors import InvalidRequest
from lehr.learn.nets.depthwise import compute_depthwise_exactly
from lehr.learn.told_once import warn_once

NetT = TypeVar("NetT", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Device:
    """One compute device. On a CPU the number of threads is part of the result: sums are split among them."""

    name: str
    """"cpu", "cuda:0", …"""
    is_bf16: bool
    """Convolutions and products run in bfloat16; losses, norms and weights stay in float32."""
    threads: int

    @property
    def precision(self) -> str:
        """ "bf16" or "f32", as checkpoints and bundles call it."""
        return "bf16" if self.is_bf16 else "f32"

    @property
    def is_cuda(self) -> bool:
        """True on an NVIDIA (or ROCm) device."""
        return self.name.startswith("cuda")

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Mixed precision for a forward pass; does nothing where bfloat16 is not worth it.

        A GPU is this thread's current one meanwhile, which is not shared among threads: torch asks the current GPU, not
        the one that computes, whether it has bfloat16.
        """
        return self._on_gpu() if self.is_cuda else torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.is_bf16)

    @contextlib.contextmanager
    def _on_gpu(self) -> Iterator[None]:
        with torch.cuda.device(self.name), torch.autocast("cuda", dtype=torch.bfloat16, enabled=self.is_bf16):
            yield

    def place(self, net: NetT) -> NetT:
        """Moves a network here, laid out as convolutions are fastest; depthwise ones stay in float32 on a CPU."""
        if self.is_bf16 and not self.is_cuda:
            compute_depthwise_exactly(net)
        return net.to(self.name, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def prepare(self, *, are_shapes_fixed: bool = True) -> None:
        """Sets this process's thread count and convolution search, and this thread's GPU; call before computing.

        A GPU tries out its ways to convolve at every new shape, which takes seconds for a network and pays where all
        batches are alike: not where pictures of any size come, or as many at a time as are asked about.
        """
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        if self.is_cuda:
            torch.cuda.set_device(self.name)
            torch.backends.cudnn.benchmark = are_shapes_fixed
            torch.set_float32_matmul_precision("high")


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Products of matrices in all of float32's bits: what `prepare` sets on a GPU has ten, too few for solvers that
    compare losses with gradients."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def choose_device(name: str = "auto", threads: int | None = None) -> Device:
    """ "auto" is the CUDA device with the most free memory of those that torch has kernels for, else the CPU.

    Raises InvalidRequest when the named device is not there.
    """
    if name == "auto":
        number = _freest_gpu()
        name = "cpu" if number is None else f"cuda:{number}"
    if name == "cuda":
        name = "cuda:0"
    if name.startswith("cuda"):
        _check_cuda(name)
        # of this very GPU, and without taking hold of it: the machine's GPUs may be of different ages
        is_bf16 = torch.version.hip is not None or torch.cuda.get_device_capability(name)[0] >= 8
    elif name == "cpu":
        is_bf16 = cpu_has_bf16()
    else:
        raise InvalidRequest(f"There is no device {name!r}; there are: auto, cpu, cuda, cuda:0, cuda:1, …")
    return Device(name=name, is_bf16=is_bf16, threads=threads or torch.get_num_threads())


def give_back_memory() -> None:
    """Lets other processes have the memory of GPUs that torch keeps in this one without using it."""
    torch.cuda.empty_cache()


def has_kernels(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether a GPU of this compute capability can run what was compiled for `architectures`, as torch lists them.

    Machine code ("sm_86") runs within its major version from its minor version on; "sm_100f" likewise, "sm_90a" on this
    very capability alone. Intermediate code ("compute_80") is compiled by the driver for anything as new or newer.
    """
    found = [_CODE.fullmatch(name) for name in architectures]
    return any(_runs_on(capability, code) for code in found if code)


_CODE = re.compile(r"(?P<kind>sm|compute)_(?P<major>\d+)(?P<minor>\d)(?P<only>[af]?)")


def _runs_on(capability: tuple[int, int], code: re.Match[str]) -> bool:
    compiled_for = (int(code["major"]), int(code["minor"]))
    if code["only"] == "a":
        return capability == compiled_for
    is_any_newer = code["kind"] == "compute" and not code["only"]
    return capability >= compiled_for and (is_any_newer or capability[0] == compiled_for[0])


def lacking_kernels(number: int) -> str:
    """Why torch cannot compute on this GPU, in a sentence; empty where it can."""
    capability, architectures = torch.cuda.get_device_capability(number), torch.cuda.get_arch_list()
    if torch.version.hip is not None or not architectures or has_kernels(capability, architectures):
        return ""
    return (
        f"torch {torch.__version__} has no code for compute capability {capability[0]}.{capability[1]} of "
        f"{torch.cuda.get_device_name(number)} (cuda:{number}), only for {', '.join(architectures)}: install a torch "
        "that has, see https://pytorch.org/get-started/locally"
    )


def _num_gpus() -> int:
    """Those that CUDA can be used on: torch counts what the driver lists, even where it is too old for this torch."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _freest_gpu() -> int | None:
    """The number of the GPU to compute on, None without any; the first where nobody says how full they are."""
    lacking = [lacking_kernels(number) for number in range(_num_gpus())]
    for reason in filter(None, lacking):
        warn_once(f"A GPU is not used: {reason}.")
    usable = [number for number, reason in enumerate(lacking) if not reason]
    if len(usable) < 2:
        return usable[0] if usable else None
    # torch itself would have to take hold of every GPU, which costs hundreds of megabytes on each
    tool = ["nvidia-smi", "--query-gpu=uuid,memory.free", "--format=csv,noheader,nounits"]
    uuids = [f"GPU-{torch.cuda.get_device_properties(number).uuid}" for number in usable]
    try:
        told = subprocess.run(tool, capture_output=True, text=True, check=True, timeout=30).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        warn_once(f"cuda:{usable[0]} is used whether or not another GPU has more free memory: {error}.")
        return usable[0]
    place = freest(told, uuids)
    if place is None:
        found = " ".join(told.split()) or "nothing"
        warn_once(
            f"cuda:{usable[0]} is used whether or not another GPU has more free memory: nvidia-smi tells of {found}, "
            f"and torch computes on {', '.join(uuids)}."
        )
        return usable[0]
    return usable[place]


def freest(told: str, uuids: Sequence[str]) -> int | None:
    """The index of the uuid with the most free memory, from lines "uuid, mebibytes"; the first among equals.

    None where no line tells the free memory of any of them.
    """
    fields = [line.split(",") for line in told.splitlines() if "," in line]
    free = {uuid.strip(): int(mebibytes) for uuid, mebibytes in fields if mebibytes.strip().isdigit()}
    known = [index for index, uuid in enumerate(uuids) if uuid in free]
    return max(known, key=lambda index: free[uuids[index]], default=None)


def cpu_has_bf16() -> bool:
    """True when this CPU computes bfloat16 in hardware (avx512_bf16 or AMX); elsewhere it is emulated, and slow."""
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check)


def _check_cuda(name: str) -> None:
    count = _num_gpus()
    number = name.removeprefix("cuda:")
    if not number.isdigit() or int(number) >= count:
        available = ", ".join(f"cuda:{i}" for i in range(count)) or "no CUDA device"
        raise InvalidRequest(f"There is no device {name!r} here; there are: cpu, {available}.")
