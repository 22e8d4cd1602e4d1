"""What computes here, in words: so that what was measured on a machine is not believed on another. Imports no torch."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

NVIDIA_DRIVER = tuple(map(Path, ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/usr/lib/wsl/lib/libcuda.so.1")))
"""Where an NVIDIA driver shows itself: in Linux, in a container, in Linux within Windows."""
AMD_DRIVER = Path("/dev/kfd")


def nvidia_driver() -> Path | None:
    """The place that shows that one is loaded."""
    return next((place for place in NVIDIA_DRIVER if place.exists()), None)


def has_gpu_driver() -> bool:
    """Whether there is a driver of GPUs that the installed torch could use."""
    return AMD_DRIVER.exists() if "rocm" in version("torch") else nvidia_driver() is not None


def machine() -> list[str]:
    """What computes here, and with which libraries; a driver's list of devices says which GPUs there are."""
    cpus = Path("/proc/cpuinfo")
    models = {line for line in cpus.read_text().splitlines() if line.startswith("model name")} if cpus.exists() else ()
    driver = Path("/proc/driver/nvidia/gpus")
    gpus = [(gpu / "information").read_text() for gpu in sorted(driver.iterdir())] if driver.is_dir() else []
    libraries = [f"{name} {version(name)}" for name in ("torch", "lehr")]
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return [platform.machine(), *sorted(models), str(os.cpu_count()), *gpus, seen, *libraries]
