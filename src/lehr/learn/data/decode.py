"""Untrusted bytes in, bounded uint8 RGB pixels out; Pillow and numpy only, so that a decoder process stays small.

The kind of a picture is read from its bytes, never from a name; its size is read from its header and checked before any
pixel is decoded. Colour profiles are not applied: pixels are taken as sRGB, as networks are trained.
"""

from __future__ import annotations

import codecs
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from lehr.errors import LehrError, TooLarge, UndecodableImage

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF")
"""Accepted kinds; of animations and multi-page files the first frame is read."""

MAX_ASPECT = 4.0
"""A resized picture is at most this many times longer than its shorter side; a longer one is squeezed, never cropped,
so that boxes in relative coordinates stay true."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_OPENERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "JPEG": JpegImagePlugin.jpeg_factory,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}
_OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x00\x00\x01\x00", "an icon (ICO)"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
)
_CUT = ("truncated", "cannot load this image", "no more images")
"""What Pillow says of files that end too early."""
_TEXTS = (("<svg", "an SVG drawing"), ("<!doctype html", "an HTML page"), ("<html", "an HTML page"))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is accepted, checked before decoding."""

    max_bytes: int = 85 * 2**20
    """Length of the file in bytes."""
    max_pixels: int = 89_478_485
    """Width times height."""
    max_side: int = 32_767
    """Longer side in pixels."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """What the header says."""

    format: str
    """One of `FORMATS`."""
    width: int
    """Pixels, as seen: after the EXIF orientation."""
    height: int
    """Pixels, as seen: after the EXIF orientation."""
    color_mode: str
    """Pillow's name of the stored mode: L, RGB, RGBA, P, CMYK, I;16, …"""
    is_animated: bool
    """More than one frame or page; only the first is ever read."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Pixels of one picture."""

    pixels: np.ndarray
    """uint8 [height, width, 3], RGB, upright; read-only."""
    width: int
    """Of the original in pixels, after the EXIF orientation."""
    height: int
    """Of the original in pixels, after the EXIF orientation."""
    format: str
    """One of `FORMATS`."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """All that is kept of a picture when it arrives."""

    info: ImageInfo
    thumbnail: bytes
    """JPEG."""
    perceptual_hash: int
    """64 bits; see `perceptual_hash`."""


def probe(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> ImageInfo:
    """Reads the header and decodes no pixel. Raises UndecodableImage or TooLarge."""
    _, info = _opened(data, limits)
    return info


def decode(data: bytes, *, shorter_side: int | None = None, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """Upright RGB pixels on white, resized (bicubic, antialiased) so that the shorter side is `shorter_side`.

    The longer side keeps the aspect ratio up to `MAX_ASPECT`. None keeps the original size.
    Raises UndecodableImage or TooLarge.
    """
    image, info = _opened(data, limits)
    size = (info.width, info.height) if shorter_side is None else resized(info.width, info.height, shorter_side)
    pixels = np.asarray(_upright(image, info, size).convert("RGB"))
    return Decoded(pixels=pixels, width=info.width, height=info.height, format=info.format)


def thumbnail(data: bytes, longer_side: int, *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """A JPEG whose longer side is at most `longer_side`; small pictures keep their size. Raises as `decode`."""
    return inspect(data, longer_side, limits=limits).thumbnail


def inspect(data: bytes, longer_side: int, *, limits: Limits = DEFAULT_LIMITS) -> Inspection:
    """Decodes once for everything an upload needs: proof that it decodes, size, thumbnail, hash. Raises as `decode`."""
    image, info = _opened(data, limits)
    scale = min(1.0, longer_side / max(info.width, info.height))
    size = (max(1, round(info.width * scale)), max(1, round(info.height * scale)))
    small = _upright(image, info, size)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return Inspection(info=info, thumbnail=buffer.getvalue(), perceptual_hash=perceptual_hash(small))


def check_length(data: bytes, limits: Limits) -> None:
    """Raises TooLarge when the file has more bytes than `limits` allow."""
    if len(data) > limits.max_bytes:
        raise TooLarge(f"The file has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted.")


def resized(width: int, height: int, shorter_side: int) -> tuple[int, int]:
    """(width, height) with the shorter side exactly `shorter_side` and the aspect ratio kept, up to `MAX_ASPECT`."""
    aspect = min(max(width, height) / min(width, height), MAX_ASPECT)
    longer_side = round(shorter_side * aspect)
    return (longer_side, shorter_side) if width >= height else (shorter_side, longer_side)


def perceptual_hash(image: Image.Image) -> int:
    """64 bits that change little when a picture is resized or recompressed: compare by the number of differing bits.

    Signs, against their median, of the 8 x 8 lowest frequencies of the cosine transform of the 32 x 32 grey picture
    (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1).
    """
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BOX), dtype=np.float64)
    frequencies, positions = np.arange(1, 9)[:, None], np.arange(32)[None, :]
    cosines = np.cos(np.pi * frequencies * (2 * positions + 1) / 64)
    low = (cosines @ grey @ cosines.T).round(6)
    bits = (low > np.median(low)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _opened(data: bytes, limits: Limits) -> tuple[Image.Image, ImageInfo]:
    """The lazily opened picture and its header, both within the limits."""
    check_length(data, limits)
    format_ = _format(data)
    try:
        if format_ == "WEBP":  # its reader allocates the whole canvas at opening
            _check_size(*_webp_size(data), limits)
        image = _OPENERS[format_](io.BytesIO(data))
        _check_size(*image.size, limits)
        turned = _orientation(image, format_) >= 5
    except Exception as error:
        raise _explained(error, format_, data) from error
    width, height = image.size[::-1] if turned else image.size
    is_animated = bool(getattr(image, "is_animated", False)) and image.format != "MPO"
    return image, ImageInfo(format=format_, width=width, height=height, color_mode=image.mode, is_animated=is_animated)


def _upright(image: Image.Image, info: ImageInfo, size: tuple[int, int]) -> Image.Image:
    """Decodes `image` to mode L or RGB of exactly `size` (as seen, after orientation)."""
    try:
        orientation = _orientation(image, info.format)
        stored_size = size[::-1] if orientation >= 5 else size
        drafted = None
        if info.format == "JPEG":  # decode at 1/2, 1/4 or 1/8, never below twice the wanted size
            drafted = image.draft(None, (2 * stored_size[0], 2 * stored_size[1]))
        image.load()
        image = _grey_or_rgb(image)
        if image.size != stored_size:
            box = drafted[1] if drafted else None  # the last column and row of a scaled JPEG may be partly outside
            image = image.resize(stored_size, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
        return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
    except Exception as error:
        raise _explained(error, info.format) from error


def _orientation(image: Image.Image, format_: str) -> int:
    """EXIF orientation, 1 to 8. Broken EXIF is no reason to refuse a picture. Pillow itself turns a TIFF."""
    raw = image.info.get("exif")
    if not raw or format_ == "TIFF":
        return 1
    try:
        exif = Image.Exif()
        exif.load(raw)
        value = exif.get(_ORIENTATION, 1)
    except Exception:
        return 1
    return value if value in _TURNS else 1


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    """Mode L or RGB, which can be resized channel by channel: palettes looked up, transparency laid on white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGB", rgba.size, "white")
        canvas.paste(rgba, mask=rgba)
        return canvas
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """8-bit grey from 9 to 16 bits; 32-bit and floating-point pixels have no agreed white, and are refused."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() >= 2**bits or bits > 16:
        raise UndecodableImage(
            f"The picture has pixels of mode {image.mode} beyond 16 unsigned bits, whose white is not defined; "
            "convert it to 8 or 16 bits per channel."
        )
    white = 2**bits - 1
    grey = ((values.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
    is_negative = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    return Image.fromarray(255 - grey if is_negative else grey)


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        raise TooLarge(
            f"The picture is {width:,} x {height:,} pixels; at most {limits.max_pixels:,} pixels in all and "
            f"{limits.max_side:,} on a side are accepted. Make it smaller."
        )


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas (RFC 9649, sections 2.5 to 2.7)."""
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", body[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _format(data: bytes) -> str:
    """One of `FORMATS`, by the first bytes. Raises UndecodableImage that says what the bytes are instead."""
    for signature, format_ in _SIGNATURES:
        if data.startswith(signature):
            return format_
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and data[14:18] in {struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124)}:
        return "BMP"
    raise UndecodableImage(f"This is {_what(data)}, not an image that can be read; accepted are {_list(FORMATS)}.")


def _what(data: bytes) -> str:
    """A few words for what is not a picture of ours."""
    if not data:
        return "an empty file"
    if data[4:8] == b"ftyp":
        return "a HEIC or AVIF picture" if data[8:12] in (b"heic", b"heix", b"mif1", b"avif") else "a video"
    known = next((name for signature, name in _OTHERS if data.startswith(signature)), None)
    if known:
        return known
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data[:512])  # a character cut at 512 is no error
    except UnicodeDecodeError:
        text = "\0"
    if all(character.isprintable() or character in "\r\n\t\ufeff" for character in text):
        return next((name for start, name in _TEXTS if start in text.lower()), "text")
    return f"data of an unknown kind (it begins with {data[:8].hex(' ')})"


def _explained(error: Exception, format_: str, data: bytes | None = None) -> LehrError | MemoryError:
    """The sentence for what Pillow raised; our own errors and lack of memory pass through."""
    if isinstance(error, LehrError | MemoryError):
        return error
    if isinstance(error, Image.DecompressionBombError):
        return TooLarge(f"The {format_} picture is too large: {error}.")
    words = str(error).lower()
    if "out of memory" in words:
        return MemoryError(words)
    early_ends = (EOFError, struct.error, IndexError)
    is_early = isinstance(error, early_ends) or isinstance(error.__cause__, early_ends)
    if is_early or _is_cut(format_, data) or any(phrase in words for phrase in _CUT):
        return UndecodableImage(f"The {format_} file is truncated: it ends before the picture does. Send it whole.")
    return UndecodableImage(f"The {format_} file is damaged and cannot be decoded ({str(error).rstrip('.')}).")


def _is_cut(format_: str, data: bytes | None) -> bool:
    """Whether the file is shorter than its own header says, or too short for any picture."""
    if data is None:
        return False
    needed = 8 + int.from_bytes(data[4:8], "little") if format_ == "WEBP" else 26
    return len(data) < needed


def _list(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
