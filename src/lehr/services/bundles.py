"""Trained bundles between the folder that a predictor loads and the one blob that the store keeps."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lehr.errors import LehrError, Untrained
from lehr.protocol.ids import PUBLIC_APP
from lehr.store import bundles as bundle_rows
from lehr.store.blobs import Blobs
from lehr.store.db import Database
from lehr.store.versions import ModelVersionRef

KEEP_BYTES = 10 * 1024**3
ABANDONED_SECONDS = 3600.0
"""Nobody packs or unpacks one bundle for so long: what is older was left by a killed process."""


@dataclass(frozen=True, kw_only=True)
class Bundles:
    """Needs the store, the blobs and a cache folder of this machine, which may be emptied at any time."""

    db: Database
    blobs: Blobs
    cache: Path
    prepare: Callable[[ModelVersionRef], LehrError] | None = None
    """Has the bundle of a built-in version made, which nobody trains; answers what to raise meanwhile."""

    def pack(self, folder: Path) -> tuple[str, int]:
        """Puts a bundle folder into the blob store as one uncompressed zip. Returns its SHA-256 and its size."""
        with tempfile.NamedTemporaryFile(dir=_made(self.cache), suffix=".zip") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for path in sorted(folder.rglob("*")):
                    if path.is_file():
                        archive.write(path, path.relative_to(folder).as_posix())
            size = file.tell()
            file.seek(0)
            return self.blobs.put(file), size  # type: ignore[arg-type]

    def scratch(self) -> Path:
        """A folder for bundles in the making; what a killed process leaves there is cleared away."""
        return _made(self.cache)

    def folder_of(self, vref: ModelVersionRef) -> Path:
        """The bundle's folder on this machine, fetched if need be. Raises Untrained if the version has none.

        The first one to need a built-in version hears Loading.
        """
        sha = self._sha_of(vref)
        folder = self.cache / sha
        if not folder.is_dir():
            self._unpack(sha, folder)
        return folder

    def sheet_of(self, vref: ModelVersionRef) -> dict[str, Any]:
        """What the bundle's model.json says, without fetching the rest. Raises as `folder_of` does."""
        with self.blobs.open(self._sha_of(vref)) as file:
            try:
                with zipfile.ZipFile(file) as archive:
                    return dict(json.loads(archive.read("model.json")))
            except (KeyError, ValueError, zipfile.BadZipFile) as error:
                raise LehrError(f"the bundle of {vref} has no readable model.json: it is damaged") from error

    def _sha_of(self, vref: ModelVersionRef) -> str:
        with self.db.read() as tx:
            bundle = bundle_rows.get(tx, vref)
        if bundle is None and vref.app == PUBLIC_APP and self.prepare:
            raise self.prepare(vref)
        if bundle is None:
            raise Untrained(f"Version {vref.version_id!r} of model {vref.model_id!r} has not been trained.")
        return bundle.sha

    def _unpack(self, sha: str, folder: Path) -> None:
        """Unpacks beside and renames into place, so that nobody loads half a bundle."""
        beside = Path(tempfile.mkdtemp(dir=_made(self.cache), prefix=f"{sha[:12]}-"))
        try:
            with self.blobs.open(sha) as file, zipfile.ZipFile(file) as archive:
                for member in archive.infolist():
                    _write_member(archive, member, beside)
            os.rename(beside, folder)
        except FileExistsError:
            pass  # another thread or process was faster
        except OSError:
            if not folder.is_dir():
                raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            self._make_room(folder)

    def _make_room(self, keep: Path) -> None:
        """Removes the bundles that were unpacked longest ago until the cache fits its budget, and halves of bundles."""
        self._clear_abandoned()
        with suppress(FileNotFoundError):  # another thread or process is making room too
            folders = [
                (entry.stat().st_mtime, Path(entry)) for entry in os.scandir(self.cache) if len(entry.name) == 64
            ]
            sizes = {path: sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) for _, path in folders}
            total = sum(sizes.values())
            for _, path in sorted(folders):
                if total > KEEP_BYTES and path != keep:
                    shutil.rmtree(path, ignore_errors=True)
                    total -= sizes[path]

    def _clear_abandoned(self) -> None:
        before = time.time() - ABANDONED_SECONDS
        for entry in [entry for entry in os.scandir(self.cache) if len(entry.name) != 64]:
            with suppress(FileNotFoundError):  # whoever made it has just taken it away
                if entry.stat().st_mtime >= before:
                    continue
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    os.unlink(entry)


def _write_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Our own archives hold plain relative files only; anything else is damage."""
    path = folder / member.filename
    if member.is_dir() or ".." in Path(member.filename).parts or Path(member.filename).is_absolute():
        raise LehrError(f"the bundle holds {member.filename!r}, which is no plain file: it is damaged")
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 1024 * 1024)
        target.flush()
        os.fsync(target.fileno())  # the folder's name promises that all of it is there, after a power cut too


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
