"""Where and how precisely to compute: the processor or a CUDA device, bfloat16 where the hardware has it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from lehr.errors import InvalidRequest
from lehr.learn.nets.depthwise import compute_depthwise_exactly

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
        """Mixed precision for a forward pass; does nothing where bfloat16 is not worth it."""
        kind = "cuda" if self.is_cuda else "cpu"
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self.is_bf16)

    def place(self, net: NetT) -> NetT:
        """Moves a network here, laid out as convolutions are fastest; depthwise ones stay in float32 on a CPU."""
        if self.is_bf16 and not self.is_cuda:
            compute_depthwise_exactly(net)
        return net.to(self.name, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def prepare(self, *, are_shapes_fixed: bool = True) -> None:
        """Sets this process's thread count and convolution search; call before computing.

        A GPU tries out its ways to convolve at every new shape, which takes seconds for a network and pays where all
        batches are alike: not where pictures of any size come, or as many at a time as are asked about.
        """
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        if self.is_cuda:
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
    """ "auto" is the CUDA device with the most free memory, else the CPU.

    Raises InvalidRequest when the named device is not there.
    """
    if name == "auto":
        name = f"cuda:{_freest_gpu()}" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = "cuda:0"
    if name.startswith("cuda"):
        _check_cuda(name)
        with torch.cuda.device(name):  # the machine's GPUs may be of different ages
            is_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    elif name == "cpu":
        is_bf16 = cpu_has_bf16()
    else:
        raise InvalidRequest(f"There is no device {name!r}; there are: auto, cpu, cuda, cuda:0, cuda:1, …")
    return Device(name=name, is_bf16=is_bf16, threads=threads or torch.get_num_threads())


def _freest_gpu() -> int:
    """The number of the GPU to compute on; the first where the driver's tool cannot say how full they are."""
    count = torch.cuda.device_count()
    if count < 2:
        return 0
    uuids = [f"GPU-{torch.cuda.get_device_properties(number).uuid}" for number in range(count)]
    # torch itself would have to take hold of every GPU, which costs hundreds of megabytes on each
    tool = ["nvidia-smi", "--query-gpu=uuid,memory.free", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(tool, capture_output=True, text=True, check=True, timeout=30).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return 0
    return freest(told, uuids)


def freest(told: str, uuids: Sequence[str]) -> int:
    """The index of the uuid with the most free memory, from lines "uuid, mebibytes"; the first among equals."""
    fields = [line.split(",") for line in told.splitlines() if "," in line]
    free = {uuid.strip(): int(mebibytes) for uuid, mebibytes in fields if mebibytes.strip().isdigit()}
    return max(range(len(uuids)), key=lambda index: free.get(uuids[index], 0))


def cpu_has_bf16() -> bool:
    """True when this CPU computes bfloat16 in hardware (avx512_bf16 or AMX); elsewhere it is emulated, and slow."""
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check)


def _check_cuda(name: str) -> None:
    count = torch.cuda.device_count()
    number = name.removeprefix("cuda:")
    if not number.isdigit() or int(number) >= count:
        available = ", ".join(f"cuda:{i}" for i in range(count)) or "no CUDA device"
        raise InvalidRequest(f"There is no device {name!r} here; there are: cpu, {available}.")
