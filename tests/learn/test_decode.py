"""What `lehr.learn.data.decode` makes of good, odd, damaged and hostile bytes, beside plain Pillow."""

import contextlib
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

from lehr.errors import TooLarge, UndecodableImage
from lehr.learn.data import decode as decoding
from lehr.learn.data.decode import Limits, decode, inspect, probe, resized, thumbnail


def photo(width=640, height=480):
    y, x = np.mgrid[0:height, 0:width]
    red = 127 + 120 * np.sin(x / 17 + y / 31)
    return Image.fromarray(np.stack([red, 255 * x / width, 255 * y / height], -1).astype(np.uint8))


def encoded(image, format_, **options):
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def naive(data, shorter_side=None):
    """The oracle: everything decoded in full, turned, flattened on white, then resized by Pillow in one step."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if shorter_side:
        flat = flat.resize(resized(*flat.size, shorter_side), Image.Resampling.BICUBIC)
    return np.asarray(flat).astype(int)


def png_header(width, height, body=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format_", decoding.FORMATS)
def test_every_format_gives_the_pixels_that_pillow_gives(format_):
    data = encoded(photo(), format_)
    found = decode(data)
    assert (found.width, found.height, found.format) == (640, 480, format_)
    assert found.pixels.dtype == np.uint8
    np.testing.assert_array_equal(found.pixels, naive(data))
    info = probe(data)
    assert (info.width, info.height, info.format) == (640, 480, format_)


@pytest.mark.parametrize("format_", decoding.FORMATS)
@pytest.mark.parametrize("size", [(1203, 801), (801, 1203), (90, 60), (64, 64)])
def test_the_shorter_side_is_exact_and_the_picture_close_to_one_full_resize(format_, size):
    data = encoded(photo(*size), format_)
    found = decode(data, shorter_side=64)
    expected = naive(data, 64)
    assert min(found.pixels.shape[:2]) == 64
    assert found.pixels.shape == expected.shape
    assert np.abs(found.pixels - expected).mean() < 1.5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_turns_pixels_and_sizes(format_, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(400, 300), format_, exif=exif)
    found, info = decode(data), probe(data)
    assert (found.width, found.height) == (info.width, info.height) == found.pixels.shape[1::-1]
    assert (info.width < info.height) == (orientation >= 5)
    np.testing.assert_array_equal(found.pixels, naive(data))
    assert np.abs(decode(data, shorter_side=50).pixels - naive(data, 50)).mean() < 1.5


@pytest.mark.parametrize(
    ("image", "format_"),
    [
        (photo().convert("L"), "JPEG"),
        (photo().convert("1"), "PNG"),
        (photo().convert("P"), "PNG"),
        (photo().convert("CMYK"), "JPEG"),
        (photo().convert("CMYK"), "TIFF"),
        (photo().convert("RGBA"), "PNG"),
        (photo().convert("LA"), "PNG"),
        (photo().convert("YCbCr"), "TIFF"),
    ],
    ids=lambda value: getattr(value, "mode", value),
)
def test_every_colour_mode_becomes_the_rgb_that_pillow_makes(image, format_):
    if image.mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = encoded(image, format_)
    assert np.abs(decode(data).pixels - naive(data)).max() <= 1
    assert probe(data).color_mode == Image.open(io.BytesIO(data)).mode


@pytest.mark.parametrize("format_", ["PNG", "GIF"])
def test_a_transparent_palette_colour_lies_on_white(format_):
    image = Image.new("P", (20, 10), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(0, (0, 0, 10, 10))
    pixels = decode(encoded(image, format_, transparency=0)).pixels
    assert pixels[5, 2].tolist() == [255, 255, 255]
    assert pixels[5, 15].tolist() == [200, 100, 50]


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_brightness(format_):
    ramp = np.linspace(0, 65535, 256 * 4).reshape(4, 256).astype(np.uint16)
    pixels = decode(encoded(Image.fromarray(ramp), format_)).pixels
    np.testing.assert_array_equal(pixels[..., 0], np.rint(ramp / 257))


def test_floating_point_pixels_are_refused_because_their_white_is_unknown():
    with pytest.raises(UndecodableImage, match="convert it to 8 or 16 bits"):
        decode(encoded(Image.new("F", (8, 8), 0.5), "TIFF"))


def test_only_the_first_frame_is_read():
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    for format_ in ("GIF", "WEBP", "TIFF", "PNG"):
        options = {"lossless": True} if format_ == "WEBP" else {}
        data = encoded(frames[0], format_, save_all=True, append_images=frames[1:], **options)
        assert decode(data).pixels[3, 3].tolist() == [255, 0, 0]
        assert probe(data).is_animated


def test_a_phone_s_multi_picture_file_is_a_jpeg():
    data = encoded(photo(), "MPO", save_all=True, append_images=[photo(100, 100)])
    assert probe(data).format == "JPEG"
    assert decode(data, shorter_side=48).pixels.shape == (48, 64, 3)


def test_a_ribbon_is_squeezed_to_four_times_its_shorter_side():
    assert decode(encoded(photo(2000, 20), "PNG"), shorter_side=32).pixels.shape == (32, 128, 3)
    assert decode(encoded(photo(20, 2000), "PNG"), shorter_side=32).pixels.shape == (128, 32, 3)


@pytest.mark.parametrize("format_", decoding.FORMATS)
@pytest.mark.parametrize("part", [0.01, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused_as_truncated(format_, part):
    data = encoded(photo(), format_)
    with pytest.raises(UndecodableImage, match="truncated"):
        decode(data[: int(len(data) * part)], shorter_side=32)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "an empty file"),
        (b"just a line of text", "This is text, not an image"),
        ("ein Übertext, lang. ".encode() * 100, "This is text, not an image"),
        (b"BMW is a car", "This is text, not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<!DOCTYPE html><html></html>", "an HTML page"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC or AVIF picture"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
        (bytes(range(200)), "begins with 00 01 02"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(data, sentence):
    with pytest.raises(UndecodableImage, match=sentence) as caught:
        probe(data)
    assert "JPEG, PNG, TIFF, BMP, WEBP and GIF" in caught.value.details


def test_an_enormous_header_is_refused_before_anything_is_allocated():
    webp = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + b"\0\0\0\0" + b"\xfe\x3f\0" * 2
    for data in (png_header(30_000, 30_000), webp, png_header(40_000, 1)):
        with pytest.raises(TooLarge, match="Make it smaller") as caught:
            probe(data)
        assert caught.value.code == 30105
    with pytest.raises(TooLarge, match="30,000 x 30,000"):
        decode(png_header(30_000, 30_000), shorter_side=32)


def test_limits_on_bytes_and_sides_are_kept():
    data = encoded(photo(), "PNG")
    with pytest.raises(TooLarge, match="at most 1,000 are accepted"):
        decode(data, limits=Limits(max_bytes=1000))
    with pytest.raises(TooLarge, match="640 x 480"):
        decode(data, limits=Limits(max_side=500))


def test_a_deflate_bomb_gives_no_more_pixels_than_its_header_says():
    bomb = png_header(16, 16, zlib.compress(bytes(50_000_000)))
    assert decode(bomb).pixels.shape == (16, 16, 3)


@pytest.mark.filterwarnings("ignore")
def test_broken_exif_is_no_reason_to_refuse_a_picture():
    data = encoded(photo(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert decode(data).pixels.shape == (480, 640, 3)


def test_one_inspection_tells_what_three_calls_would():
    data = encoded(photo(1000, 500).convert("RGBA"), "PNG")
    seen = inspect(data, 256)
    assert seen.info == probe(data)
    assert seen.thumbnail == thumbnail(data, 256)
    small = Image.open(io.BytesIO(seen.thumbnail))
    assert (small.format, small.size) == ("JPEG", (256, 128))
    assert probe(thumbnail(encoded(photo(40, 30), "PNG"), 256)).width == 40


def test_the_perceptual_hash_is_near_for_copies_and_far_for_other_pictures():
    temple, flower = (Image.fromarray(pixels) for pixels in load_sample_images().images)
    copy = inspect(encoded(temple.resize((300, 213)), "JPEG", quality=60), 256).perceptual_hash
    other = inspect(encoded(flower, "PNG"), 256).perceptual_hash
    original = inspect(encoded(temple, "PNG"), 256).perceptual_hash
    assert 0 <= original < 2**64
    assert (original ^ copy).bit_count() <= 6
    assert (original ^ other).bit_count() >= 16


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None)
@given(
    format_=st.sampled_from(decoding.FORMATS), position=st.integers(0, 2000), noise=st.binary(min_size=1, max_size=40)
)
def test_damaged_bytes_end_in_pixels_or_in_a_sentence(format_, position, noise):
    data = bytearray(encoded(photo(60, 40), format_))
    position %= len(data)
    data[position : position + len(noise)] = noise
    with contextlib.suppress(UndecodableImage, TooLarge):
        assert decode(bytes(data), shorter_side=16).pixels.shape[2] == 3


def test_decoding_imports_no_torch():
    code = "import sys, lehr.learn.data.decode; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
