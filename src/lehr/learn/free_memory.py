"""How much memory a training takes at least, and how much there is. Imports no torch: it is asked before one starts."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

USABLE_SHARE = 0.9
"""Of the available memory. The rest goes to what is not counted: scratch space of convolutions, fragments, data.
Measured: what is counted was 0.83 to 0.93 of what steps of three networks took at their most (CPU, bfloat16)."""
_NO_LIMIT = 2**60
"""Larger than any memory: how version 1 of cgroups writes that there is no limit."""
_GPU_TOOL = ("nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits")
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes that a training will take beyond what it has taken before its first step."""

    per_item: int
    """Kept for the backward pass, for every item of a batch."""
    fixed: int
    """Gradients and the optimiser's memory of them."""

    def of_batch(self, batch_size: int) -> int:
        """All together, for a step with this many items."""
        return self.fixed + batch_size * self.per_item

    def largest_batch(self, available: int) -> int:
        """The most items per step that fit; 0 or less: none does."""
        return (int(USABLE_SHARE * available) - self.fixed) // max(self.per_item, 1)


def free_bytes(*, is_on_gpu: bool) -> int:
    """What a training may still take: of this machine and its container, or of the GPU with the most free memory."""
    return free_on_gpu() if is_on_gpu else free_here()


def free_here() -> int:
    """Of this machine, and of the container that this process runs in."""
    return min(available_here(Path("/proc/meminfo")), left_in_container(Path("/sys/fs/cgroup")))


def free_on_gpu() -> int:
    """Of the GPU that has the most. Where the driver's tool cannot say, no limit is known: steps will find it."""
    try:
        told = subprocess.run(  # noqa: S603
            _GPU_TOOL, capture_output=True, text=True, check=True, timeout=_PATIENCE_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return _NO_LIMIT
    mebibytes = [int(line) for line in told.split() if line.isdigit()]
    return max(mebibytes) * 2**20 if mebibytes else _NO_LIMIT


def available_here(meminfo: Path) -> int:
    """What the kernel would give to a new process without swapping."""
    if not meminfo.exists():
        return _NO_LIMIT
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return 1024 * int(lines["MemAvailable"].split()[0])


def left_in_container(folder: Path) -> int:
    """What the control group of this process may still take, file caches not counted; versions 2 and 1 of cgroups."""
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        path = folder / limit
        if path.is_file() and (text := path.read_text().strip()) != "max" and int(text) < _NO_LIMIT:
            statistics = path.with_name("memory.stat").read_text().split()
            reclaimable = int(dict(zip(statistics[::2], statistics[1::2], strict=True)).get(cache, 0))
            return max(0, int(text) - int((folder / used).read_text()) + reclaimable)
    return _NO_LIMIT
