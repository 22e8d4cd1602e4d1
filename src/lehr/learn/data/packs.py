"""Packs: every picture of a training set decoded once, at one size, in one file named by its content.

A pack is a folder that appears whole, by one rename, or not at all. Its name is the hash of what it holds, so the same
pictures at the same size are never decoded twice; a new pack copies from older ones what they share. Packs have a disk
budget: the least recently used go first. It does not decode (decode.py does) and knows no concepts.

    index.json     version, size, and per picture sha256, height, width, offset, length, kind, native height and width
                   (which older packs lack); what could not be read
    pixels.bin     uint8 RGB rows end to end (or JPEG of quality 95 where raw pixels would not fit the budget)
    signatures.bin uint8 [N, 264] per picture: perceptual hash (8) and 16 x 16 grey thumbnail (256)
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from lehr.errors import TooLarge, TrainingStopped, UndecodableImage
from lehr.learn.data.decode import Decoded, decode, perceptual_hash

Decode = Callable[[bytes, int], Decoded]
"""(bytes, shorter side) -> the picture of that size. Raises UndecodableImage or TooLarge."""

VERSION = 1
SIGNATURE_BYTES = 264
_RAW, _JPEG = "raw", "jpeg"
_ABANDONED_SECONDS = 3600.0


class Source(NamedTuple):
    """A picture to pack."""

    sha256: str
    read: Callable[[], bytes]


class Record(NamedTuple):
    """Where one picture lies in `pixels.bin`."""

    height: int
    width: int
    offset: int
    length: int
    kind: str
    native_height: int = 0
    """Of the picture as it was sent, upright, in pixels; 0: not known, it is from a pack of before this was kept."""
    native_width: int = 0


@dataclass(frozen=True, kw_only=True)
class Pack:
    """An open pack. `rows[sha256]` numbers the pictures that could be read; `unreadable[sha256]` says why not."""

    folder: Path
    image_size: int
    records: tuple[Record, ...]
    rows: dict[str, int]
    unreadable: dict[str, str]

    @cached_property
    def bytes_(self) -> np.ndarray:
        """uint8 [B]: the whole of `pixels.bin`, mapped, not read. Copy-on-write: torch takes no read-only array."""
        path = self.folder / "pixels.bin"
        return np.memmap(path, dtype=np.uint8, mode="c") if path.stat().st_size else np.zeros(0, np.uint8)

    @cached_property
    def signatures(self) -> np.ndarray:
        """uint8 [N, 264]."""
        return np.fromfile(self.folder / "signatures.bin", dtype=np.uint8).reshape(-1, SIGNATURE_BYTES)

    @property
    def is_raw(self) -> bool:
        """All pictures are plain pixels, none is a JPEG."""
        return all(record.kind == _RAW for record in self.records)

    def pixels(self, row: int) -> np.ndarray:
        """uint8 [H, W, 3] of one picture; a view of the file where it is raw."""
        record = self.records[row]
        data = self.bytes_[record.offset : record.offset + record.length]
        if record.kind == _RAW:
            return data.reshape(record.height, record.width, 3)
        with Image.open(io.BytesIO(data.tobytes())) as image:
            return np.asarray(image.convert("RGB"))


def decode_here(data: bytes, shorter_side: int) -> Decoded:
    """Decodes in this process: for one's own files; a server hands untrusted bytes to its decoder processes."""
    return decode(data, shorter_side=shorter_side)


@dataclass(frozen=True)
class Packs:
    """The folder of all packs on this machine."""

    folder: Path
    budget_bytes: int = 20 * 2**30
    """Packs and the features kept with them may use this much disk; the pack in use may alone use half of it raw."""

    def open(self, sources: Sequence[Source], image_size: int) -> Pack | None:
        """The pack of exactly these pictures, if it is there; marks it as used."""
        path = self.folder / pack_name(sources, image_size)
        if not (path / "index.json").is_file():
            return None
        os.utime(path)
        return read_pack(path)

    def build(
        self,
        sources: Sequence[Source],
        image_size: int,
        *,
        decode: Decode = decode_here,
        parallel: int = 0,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Pack:
        """Opens the pack of these pictures or makes it. `decode` is called from `parallel` threads (0: one per core).

        Whatever `on_progress(done, total)` raises stops the build and leaves nothing behind.
        Raises TrainingStopped when the disk is full.
        """
        found = self.open(sources, image_size)
        if found:
            on_progress(len(sources), len(sources))
            return found
        unique = _by_content(sources)
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix="partial-", dir=self.folder))
        try:
            older = [read_pack(path) for path in self.of_size(image_size)]
            with (
                ThreadPoolExecutor(parallel or os.cpu_count() or 1) as threads,
                _Writer(partial, image_size, len(unique), self.budget_bytes // 2) as writer,
            ):
                _fill(writer, unique, older, _Decoding(threads, decode, image_size), on_progress)
                writer.finish()
            path = self._publish(partial, pack_name(sources, image_size))
        except OSError as error:
            raise TrainingStopped(f"The pictures could not be packed in {self.folder}: {error}.") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self.prune(keep=path.name)
        return read_pack(path)

    def prune(self, keep: str = "") -> None:
        """Removes the least recently used packs beyond the budget, and what a killed build left behind.

        A pack that is still mapped somewhere stays readable there.
        """
        for path in self.folder.glob("partial-*"):
            if time.time() - _last_written(path) > _ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        sizes = {path: _size(path) for path in self.folder.iterdir() if (path / "index.json").is_file()}
        total = sum(sizes.values())
        for path in sorted(sizes, key=lambda path: path.stat().st_mtime):
            if total <= self.budget_bytes:
                return
            if path.name != keep:
                total -= sizes[path]
                (path / "index.json").unlink(missing_ok=True)  # no pack from this moment on
                shutil.rmtree(path, ignore_errors=True)

    def _publish(self, partial: Path, name: str) -> Path:
        """Makes a complete folder appear under its name. Somebody else's identical pack is as good as ours."""
        path = self.folder / name
        try:
            partial.rename(path)
        except OSError:
            if not (path / "index.json").is_file():
                raise
        _sync_folder(self.folder)
        return path

    def of_size(self, image_size: int) -> list[Path]:
        """The folders of the packs of this size."""
        return [path for path in sorted(self.folder.glob(f"{image_size}-*")) if (path / "index.json").is_file()]


def pack_name(sources: Sequence[Source], image_size: int) -> str:
    """A function of the size and the set of contents alone."""
    digest = hashlib.sha256(f"{VERSION} {image_size}".encode())
    for sha256 in sorted({source.sha256 for source in sources}):
        digest.update(sha256.encode())
    return f"{image_size}-{digest.hexdigest()[:40]}"


def read_pack(path: Path) -> Pack:
    """Opens a pack folder. Raises OSError or ValueError when it is not a whole pack of this version."""
    index = json.loads((path / "index.json").read_text())
    if index["version"] != VERSION:
        raise ValueError(f"{path} is a pack of version {index['version']}; this Lehr reads version {VERSION}.")
    natives = index.get("natives") or [()] * len(index["records"])
    records = tuple(Record(*record, *native) for record, native in zip(index["records"], natives, strict=True))
    rows = {sha256: row for row, sha256 in enumerate(index["sha256"])}
    return Pack(folder=path, image_size=index["image_size"], records=records, rows=rows, unreadable=index["unreadable"])


class _Decoding(NamedTuple):
    """How pictures are decoded, ahead of the writer."""

    threads: ThreadPoolExecutor
    decode: Decode
    image_size: int

    def start(self, source: Source) -> Future[Decoded]:
        return self.threads.submit(lambda: self.decode(source.read(), self.image_size))


class _Writer:
    """Writes a pack's files; turns to JPEG when the raw pixels of the whole set would not fit."""

    def __init__(self, folder: Path, image_size: int, num_sources: int, max_raw_bytes: int) -> None:
        self.folder, self.image_size = folder, image_size
        self.num_sources, self.max_raw_bytes = num_sources, max_raw_bytes
        self.pixels: BinaryIO = (folder / "pixels.bin").open("wb")
        self.signatures: BinaryIO = (folder / "signatures.bin").open("wb")
        self.records: list[Record] = []
        self.shas: list[str] = []
        self.unreadable: dict[str, str] = {}

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.pixels.close()
        self.signatures.close()

    def add(self, sha256: str, decoded: Decoded) -> None:
        pixels = decoded.pixels
        assert pixels.dtype == np.uint8, pixels.dtype
        assert pixels.ndim == 3, pixels.shape
        raw_so_far = sum(record.height * record.width * 3 for record in self.records[:256]) + pixels.nbytes
        expected = raw_so_far / (min(len(self.records), 256) + 1) * self.num_sources
        kind = _RAW if expected <= self.max_raw_bytes else _JPEG
        data = np.ascontiguousarray(pixels).tobytes() if kind == _RAW else _as_jpeg(pixels)
        height, width = pixels.shape[:2]
        record = Record(height, width, 0, len(data), kind, decoded.height, decoded.width)
        self.copy(sha256, record, data, signature(pixels))

    def copy(self, sha256: str, record: Record, data: bytes, signature_: bytes) -> None:
        """Appends bytes that are encoded already."""
        self.records.append(record._replace(offset=self.pixels.tell()))
        self.shas.append(sha256)
        self.pixels.write(data)
        self.signatures.write(signature_)

    def finish(self) -> None:
        """Writes the index last, everything fsynced."""
        for file in (self.pixels, self.signatures):
            _sync(file)
        index = {
            "version": VERSION,
            "image_size": self.image_size,
            "sha256": self.shas,
            "records": [record[:5] for record in self.records],
            "natives": [record[5:] for record in self.records],
            "unreadable": self.unreadable,
        }
        with (self.folder / "index.json").open("wb") as file:
            file.write(json.dumps(index).encode())
            _sync(file)
        _sync_folder(self.folder)


def _by_content(sources: Sequence[Source]) -> list[Source]:
    """Each content once, in the order of the hashes: many items may show the same picture."""
    return [source for _, source in sorted({source.sha256: source for source in sources}.items())]


def _fill(
    writer: _Writer,
    sources: Sequence[Source],
    older: Sequence[Pack],
    decoding: _Decoding,
    on_progress: Callable[[int, int], None],
) -> None:
    """Copies what older packs have, decodes the rest a little ahead of the writing, in the order given."""
    known = {sha256: pack for pack in older for sha256 in pack.rows}
    window = 4 * decoding.threads._max_workers
    ahead: dict[str, Future[Decoded]] = {}
    pending = iter([source for source in sources if source.sha256 not in known])
    try:
        for done, source in enumerate(sources):
            while len(ahead) < window and (upcoming := next(pending, None)):
                ahead[upcoming.sha256] = decoding.start(upcoming)
            if source.sha256 in known:
                _copy(writer, known[source.sha256], source.sha256)
            else:
                _add(writer, source.sha256, ahead.pop(source.sha256))
            on_progress(done + 1, len(sources))
    finally:
        for future in ahead.values():
            future.cancel()


def _add(writer: _Writer, sha256: str, future: Future[Decoded]) -> None:
    try:
        writer.add(sha256, future.result())
    except (UndecodableImage, TooLarge) as error:
        writer.unreadable[sha256] = error.details


def _copy(writer: _Writer, pack: Pack, sha256: str) -> None:
    row = pack.rows[sha256]
    record = pack.records[row]
    data = pack.bytes_[record.offset : record.offset + record.length].tobytes()
    writer.copy(sha256, record, data, pack.signatures[row].tobytes())


def signature(pixels: np.ndarray) -> bytes:
    """264 bytes: perceptual hash, then a 16 x 16 grey thumbnail."""
    image = Image.fromarray(pixels).convert("L")
    small = image.resize((16, 16), Image.Resampling.BOX)
    return perceptual_hash(image).to_bytes(8, "big") + small.tobytes()


def _as_jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


def _last_written(path: Path) -> float:
    return max((file.stat().st_mtime for file in path.iterdir()), default=0.0)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
