"""What an operator can set: the only reader of the environment.

A flag of `lehr serve` wins over its environment variable, which wins over the default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lehr.errors import InvalidRequest

LARGEST_PORT = 65_535
PRECISIONS = ("auto", "bf16", "f32")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One running Lehr. Every field but the process counts has an environment variable `LEHR_<NAME>`."""

    home: Path = field(default_factory=lambda: Path.home() / ".lehr")
    """Folder of everything Lehr keeps: database, blobs, packs, caches."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8080
    """The one port."""
    database: str = ""
    """Database URL; empty: SQLite in `home`."""
    blobs: str = ""
    """Blob store URL (`s3://bucket/prefix`, …); empty: files in `home`."""
    ray: str = ""
    """Address of a Ray cluster; empty: local processes."""
    user_id: str = "lehr"
    """Id of the first user."""
    pat: str = ""
    """First personal access token; empty: one is generated and shown once."""
    fetch_allow: tuple[str, ...] = ()
    """Hosts or networks (CIDR) that URL inputs may reach although they are private."""
    weights: Path | None = None
    """Folder of extra pretrained weights."""
    precision: str = "auto"
    """Of trainings. auto: bfloat16 where ten measured steps are faster so; bf16: wherever the hardware can; f32."""
    predictors: int = 1
    """Predictor processes."""
    workers: int = 1
    """Worker processes."""
    tls_certificate: Path | None = None
    """PEM certificate chain; with `tls_key`, the port speaks TLS."""
    tls_key: Path | None = None
    """PEM private key."""

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the store."""
        return self.database or f"sqlite:///{self.home / 'lehr.db'}"

    @property
    def base_url(self) -> str:
        """How this machine reaches the server."""
        scheme = "https" if self.tls_certificate else "http"
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104
        return f"{scheme}://{host}:{self.port}"

    def at_port(self, port: int) -> Settings:
        """The same at the port that was really bound."""
        return replace(self, port=port)

    def to_environment(self) -> dict[str, str]:
        """The same settings as `LEHR_*` variables, for a child process. The token stays out: children need none."""
        values = {name: getattr(self, name) for name in _PARSERS if name != "pat"}
        return {
            f"LEHR_{name.upper()}": ",".join(value) if isinstance(value, tuple) else str(value)
            for name, value in values.items()
            if value not in (None, "", ())
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, **flags: object) -> Settings:
        """Reads `LEHR_*`; `flags` that are not None win. Raises InvalidRequest with the name and the value."""
        values: dict[str, object] = {}
        for name, parse in _PARSERS.items():
            text = environment.get(f"LEHR_{name.upper()}", "")
            if text:
                values[name] = _parsed(name, text, parse)
        values.update({name: value for name, value in flags.items() if value is not None})
        settings = cls(**values)  # type: ignore[arg-type]
        if not 0 <= settings.port <= LARGEST_PORT:
            raise InvalidRequest(
                f"port {settings.port} does not exist; choose one from 1 to {LARGEST_PORT}, or 0 for any."
            )
        return settings


def share_cores() -> None:
    """Has waiting threads of torch sleep, in this process and those it starts; call it before torch is imported.

    By default they spin. Where anything else wants the cores (a server beside its trainer, two trainings), that is
    ruinous: with the cores asked for three times over, a step of ResNeXt-50 on two threads took 18.5 s of which it
    computed 0.5, and 1.4 s with sleeping threads.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def let_memory_grow() -> None:
    """Has torch grow what it holds of a GPU's memory, here and in processes started from here; call it before torch is
    imported. An operator's own setting of torch's allocator stays as it is.

    By default torch takes pieces that it cannot join: where pictures or batches differ in size, much of what it holds
    is of no use to it, and a training runs out of memory that is there.
    """
    if not any(name in os.environ for name in _ALLOCATOR):
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"


_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
"""Torch reads all of them: what an operator set in one is not to be mixed with ours in another."""


def _parsed(name: str, text: str, parse: object) -> object:
    try:
        return parse(text)  # type: ignore[operator]
    except ValueError as error:
        raise InvalidRequest(f"LEHR_{name.upper()}={text!r} cannot be used: {error}") from error


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _precision(text: str) -> str:
    if text not in PRECISIONS:
        raise ValueError(f"choose one of {', '.join(PRECISIONS)}")
    return text


def _folder(text: str) -> Path:
    return Path(text).expanduser()


_PARSERS = {
    "home": _folder,
    "host": str,
    "port": int,
    "database": str,
    "blobs": str,
    "ray": str,
    "user_id": str,
    "pat": str,
    "fetch_allow": _list,
    "weights": _folder,
    "precision": _precision,
    "predictors": int,
    "workers": int,
    "tls_certificate": _folder,
    "tls_key": _folder,
}
