"""What a figure was measured on: written beside every result."""

from __future__ import annotations

import os
import platform
from datetime import date
from pathlib import Path


def described() -> str:
    """Processor, cores, GPU and date in one line."""
    return f"{_processor()}, {os.cpu_count()} cores, {_gpu()}, Python {platform.python_version()}, {date.today()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpu() -> str:
    driver = Path("/proc/driver/nvidia/gpus")
    names = [
        line.split(":", 1)[1].strip()
        for gpu in (driver.iterdir() if driver.is_dir() else ())
        for line in (gpu / "information").read_text().splitlines()
        if line.startswith("Model")
    ]
    return ", ".join(names) or "no GPU"
