"""What computes here, in words: so that what was measured on a machine is not believed on another. Imports no torch."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def machine() -> list[str]:
    """What computes here, and with which libraries; a driver's list of devices says which GPUs there are."""
    cpus = Path("/proc/cpuinfo")
    models = {line for line in cpus.read_text().splitlines() if line.startswith("model name")} if cpus.exists() else ()
    driver = Path("/proc/driver/nvidia/gpus")
    gpus = [(gpu / "information").read_text() for gpu in sorted(driver.iterdir())] if driver.is_dir() else []
    libraries = [f"{name} {version(name)}" for name in ("torch", "lehr")]
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return [platform.machine(), *sorted(models), str(os.cpu_count()), *gpus, seen, *libraries]
