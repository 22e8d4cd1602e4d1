"""The formats that a frozen version of a data set is written in: protobuf and JSON as the published clients read them,
and COCO with its pictures.

Each takes items one after the other and holds little of them. Nothing is read from or written to the store here.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

from lehr.protocol import dialect, resources_pb2
from lehr.protocol.structs import from_struct
from lehr.services.media import CONTENT_TYPES, shown
from lehr.store.items import Item

BATCH = 100
"""Inputs in one member of the archive."""
_PARTS = ("regions", "frames", "tracks", "time_segments")
_SPLITS = ("train", "val", "validation", "test")
_EXTENSIONS = {name: name.lower() for name in CONTENT_TYPES} | {"JPEG": "jpg", "TIFF": "tif"}
_MEMORY_BYTES = 4 << 20


class Writer(Protocol):
    """One format."""

    def add(self, item: Item) -> None:
        """Takes one item."""

    def close(self) -> None:
        """Writes what is left."""


class InputBatches:
    """`InputBatch` messages in members called `SPLIT/NUMBER_nCOUNT`, behind a member `mimetype`."""

    def __init__(
        self,
        archive: zipfile.ZipFile,
        complete: Callable[[Item], resources_pb2.Input],
        *,
        form: str,
        dump: Callable[[resources_pb2.InputBatch], bytes],
    ) -> None:
        self._archive = archive
        self._complete = complete
        self._dump = dump
        self._waiting: dict[str, resources_pb2.InputBatch] = defaultdict(resources_pb2.InputBatch)
        self._number = 0
        write(archive, "mimetype", f"application/x.clarifai-data+{form}".encode(), zipfile.ZIP_STORED)

    def add(self, item: Item) -> None:
        """Takes one item."""
        split = split_of(item) or "all"
        self._waiting[split].inputs.append(self._complete(item))
        if len(self._waiting[split].inputs) >= BATCH:
            self._flush(split)

    def close(self) -> None:
        """Writes what is left."""
        for split in list(self._waiting):
            self._flush(split)

    def _flush(self, split: str) -> None:
        batch = self._waiting.pop(split)
        write(self._archive, f"{split}/{self._number:08d}_n{len(batch.inputs)}", self._dump(batch))
        self._number += 1


def as_protobuf(archive: zipfile.ZipFile, complete: Callable[[Item], resources_pb2.Input]) -> Writer:
    """What `Dataset.export` of the published package reads."""
    return InputBatches(archive, complete, form="protobuf", dump=lambda batch: batch.SerializeToString())


def as_json(archive: zipfile.ZipFile, complete: Callable[[Item], resources_pb2.Input]) -> Writer:
    """The same as JSON."""
    return InputBatches(archive, complete, form="json", dump=dialect.dump)


def complete_input(item: Item, app: Any, base_url: str) -> resources_pb2.Input:
    """An input with everything that its annotations say of it, and with addresses."""
    made = shown(item.input, app, base_url)
    ids = {concept.id for concept in made.data.concepts}
    for note in item.annotations:
        for name in _PARTS:
            getattr(made.data, name).extend(getattr(note.data, name))
        for concept in note.data.concepts:
            if concept.id not in ids:
                made.data.concepts.append(concept)
                ids.add(concept.id)
    return made


def split_of(item: Item) -> str:
    """train, val, validation or test where an annotation's info says so; else nothing."""
    for note in item.annotations:
        said = str(from_struct(note.annotation_info).get("split", "")).lower()
        if said in _SPLITS:
            return said
    return ""


# -- COCO --------------------------------------------------------------------------------------------------------------


def _spooled() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(_MEMORY_BYTES, prefix="lehr-coco-")  # closed once it is written


@dataclass
class _Split:
    """One COCO file on its way: its two long lists lie on the disk."""

    images: IO[bytes] = field(default_factory=_spooled)
    annotations: IO[bytes] = field(default_factory=_spooled)
    num_images: int = 0
    num_annotations: int = 0


class Coco:
    """`SPLIT/ID.jpg` and `annotations/instances_SPLIT.json`, as the published tools read them.

    Boxes and polygons are in pixels; concepts of whole pictures, which COCO has no place for, are in an image's
    `labels`. What is no picture is left out.
    """

    def __init__(self, archive: zipfile.ZipFile, read: Callable[[str], bytes]) -> None:
        self._archive = archive
        self._read = read
        self._splits: dict[str, _Split] = defaultdict(_Split)
        self._categories: dict[str, int] = {}
        self._names: dict[str, str] = {}

    def add(self, item: Item) -> None:
        """Takes one item, with its picture."""
        info = item.input.data.image.image_info
        if not info.width:
            return
        name = split_of(item) or "all"
        split = self._splits[name]
        split.num_images += 1
        file_name = f"{item.input_id}.{_EXTENSIONS.get(info.format, 'bin')}"
        write(self._archive, f"{name}/{file_name}", self._read(item.content_sha), zipfile.ZIP_STORED)
        image = {"id": split.num_images, "file_name": file_name, "width": info.width, "height": info.height}
        labels = [self._category(concept) for concept in _positive(item.input.data.concepts)]
        _append(split.images, image | ({"labels": labels} if labels else {}), is_first=split.num_images == 1)
        for shape in self._shapes(item, info):
            split.num_annotations += 1
            row = {"id": split.num_annotations, "image_id": split.num_images, "iscrowd": 0, **shape}
            _append(split.annotations, row, is_first=split.num_annotations == 1)

    def close(self) -> None:
        """Writes the COCO files."""
        for name, split in self._splits.items():
            self._write(name, split)

    def _write(self, name: str, split: _Split) -> None:
        categories = [{"id": number, "name": self._names[id_]} for id_, number in self._categories.items()]
        head = {"info": {"description": name}, "licenses": [], "categories": categories}
        member = _member(f"annotations/instances_{name}.json", zipfile.ZIP_DEFLATED)
        with self._archive.open(member, "w", force_zip64=True) as file:
            file.write(json.dumps(head).encode()[:-1])
            for key, rows in (("images", split.images), ("annotations", split.annotations)):
                file.write(f', "{key}": ['.encode())
                rows.seek(0)
                while piece := rows.read(1 << 20):
                    file.write(piece)
                file.write(b"]")
                rows.close()
            file.write(b"}")

    def _shapes(self, item: Item, info: resources_pb2.ImageInfo) -> Iterator[dict[str, Any]]:
        for note in item.annotations:
            for region in note.data.regions:
                shape = _shape(region.region_info, info.width, info.height)
                for concept in _positive(region.data.concepts) if shape else ():
                    yield {"category_id": self._category(concept), **shape}

    def _category(self, concept: resources_pb2.Concept) -> int:
        self._names.setdefault(concept.id, concept.name or concept.id)
        return self._categories.setdefault(concept.id, len(self._categories) + 1)


def _shape(info: resources_pb2.RegionInfo, width: int, height: int) -> dict[str, Any]:
    """Bounding box, area and outline in pixels; empty for what is neither box nor polygon."""
    if info.HasField("polygon"):
        points = [(point.col * width, point.row * height) for point in info.polygon.points]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        flat = [round(value, 3) for point in points for value in point]
        return _boxed(min(xs), min(ys), max(xs), max(ys)) | {"segmentation": [flat], "area": round(_area(points), 3)}
    if info.HasField("bounding_box"):
        box = info.bounding_box
        left, top, right, bottom = box.left_col, box.top_row, box.right_col, box.bottom_row
        return _boxed(left * width, top * height, right * width, bottom * height) | {"segmentation": []}
    return {}


def _boxed(left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    sides = [round(value, 3) for value in (left, top, right - left, bottom - top)]
    return {"bbox": sides, "area": round(sides[2] * sides[3], 3)}


def _area(points: Sequence[tuple[float, float]]) -> float:
    """The shoelace formula."""
    pairs = zip(points, [*points[1:], points[0]], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2


def _positive(concepts: Sequence[resources_pb2.Concept]) -> list[resources_pb2.Concept]:
    return [concept for concept in concepts if concept.value > 0]


def _append(file: IO[bytes], row: dict[str, Any], *, is_first: bool) -> None:
    file.write((b"" if is_first else b",\n") + json.dumps(row).encode())


# -- members -----------------------------------------------------------------------------------------------------------


def write(archive: zipfile.ZipFile, name: str, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
    """One member, without the moment it was written: the same version makes the same file."""
    archive.writestr(_member(name, method), data)


def _member(name: str, method: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = method
    info.external_attr = 0o644 << 16
    return info
