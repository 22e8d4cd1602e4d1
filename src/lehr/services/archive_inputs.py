"""What an entry of an archive becomes: an input of its kind, under an id made of its name, or a reason why it is none.

Decides; reads and writes nothing.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

from lehr.protocol import resources_pb2
from lehr.protocol.ids import MAX_LENGTH, new_id
from lehr.services.archives import is_archive

_EXTENSIONS = {
    "image": "jpg jpeg jpe jfif png tif tiff bmp webp gif",
    "video": "mp4 m4v mov avi wmv mkv webm mpg mpeg 3gp",
    "audio": "mp3 wav flac ogg oga m4a aac",
    "text": "txt",
}
_KINDS = {extension: kind for kind, words in _EXTENSIONS.items() for extension in words.split()}
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")
_LITTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_UNFIT = re.compile(r"[^-_.0-9A-Za-z]+")
_HASH_LENGTH = 10


def is_litter(name: str) -> bool:
    """Whether an entry is what file managers leave behind, or hidden: nobody means it."""
    return any(part.startswith(".") or part in _LITTER for part in _parts(name))


def kind_of_entry(name: str, data: bytes) -> str | None:
    """image, video, audio or text, by the bytes or else by the name; None for what cannot be an input."""
    is_picture = data.startswith(_PICTURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
    return "image" if is_picture else _KINDS.get(PurePosixPath(name.lower()).suffix[1:])


def why_not(name: str, data: bytes) -> str:
    """The reason why an entry is no input; empty if it is one."""
    if kind_of_entry(name, data) is not None:
        return "is empty" if not data else ""
    return "is an archive within the archive" if is_archive(data) else "is neither picture, video, audio nor text"


def id_from(name: str) -> str:
    """An input's id from an entry's name: readable, always the same, and another for another name.

    `cat.jpg` is `cat`, `train/cat/1.jpg` is `train-cat-1`; what does not fit into an id is told apart by a hash.
    """
    parts = _parts(name)
    if not parts:
        return new_id()
    whole = "-".join([*parts[:-1], PurePosixPath(parts[-1]).stem])
    fitting = _UNFIT.sub("-", whole).strip("-_.")
    if fitting == whole and 0 < len(whole) <= MAX_LENGTH:
        return whole
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:_HASH_LENGTH]
    kept = fitting[: MAX_LENGTH - _HASH_LENGTH - 1].rstrip("-_.")
    return f"{kept}-{digest}" if kept else digest


def input_from(name: str, data: bytes, template: resources_pb2.Input) -> resources_pb2.Input:
    """The order for an input: the template with the entry's bytes, id and name."""
    made = resources_pb2.Input()
    made.CopyFrom(template)
    made.id = id_from(name)
    if "filename" not in made.data.metadata.fields:
        made.data.metadata.fields["filename"].string_value = name.replace("\0", "")[:1000]
    kind = kind_of_entry(name, data)
    assert kind is not None, f"{name} is no input"
    if kind == "text":
        made.data.text.raw = data.decode("utf-8", "replace").replace("\0", "\ufffd")
    else:
        getattr(made.data, kind).base64 = data
    return made


def _parts(name: str) -> list[str]:
    """The parts of a name, without those that only lead somewhere."""
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
