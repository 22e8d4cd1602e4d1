"""Discs and squares on noise, with their boxes: pictures that a detector learns within seconds."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image

from lehr.learn.items import Box, Item

CONCEPTS = ("disc", "square")
COLOURS = ((60, 90, 220), (220, 60, 50))
HEIGHT, WIDTH = 128, 160


def drawn(count: int, seed: int = 0) -> list[Item]:
    """`count` pictures of 160 x 128 with one to three shapes of 24 to 55 pixels each, none over another."""
    generator = np.random.default_rng(seed)
    return [_item(f"drawn{index:04d}", *_picture(generator)) for index in range(count)]


def _picture(generator: np.random.Generator) -> tuple[np.ndarray, list[Box]]:
    pixels = generator.normal(110, 25, (HEIGHT, WIDTH, 3))
    boxes: list[Box] = []
    for _ in range(int(generator.integers(1, 4))):
        kind, side = int(generator.integers(2)), int(generator.integers(24, 56))
        top, left = int(generator.integers(HEIGHT - side)), int(generator.integers(WIDTH - side))
        box = Box(
            concept=CONCEPTS[kind],
            top=top / HEIGHT,
            left=left / WIDTH,
            bottom=(top + side) / HEIGHT,
            right=(left + side) / WIDTH,
        )
        if not any(_touch(box, other) for other in boxes):
            _draw(pixels, kind, (top, left, side), generator)
            boxes.append(box)
    return pixels.clip(0, 255).astype(np.uint8), boxes


def _touch(one: Box, other: Box) -> bool:
    apart = one.right < other.left or other.right < one.left or one.bottom < other.top or other.bottom < one.top
    return not apart


def _draw(pixels: np.ndarray, kind: int, place: tuple[int, int, int], generator: np.random.Generator) -> None:
    top, left, side = place
    rows, columns = np.mgrid[0:side, 0:side] - (side - 1) / 2
    inside = (rows**2 + columns**2 <= (side / 2) ** 2) | bool(kind)
    patch = pixels[top : top + side, left : left + side]
    patch[inside] = np.array(COLOURS[kind]) + generator.normal(0, 15, (int(inside.sum()), 3))


def _item(name: str, pixels: np.ndarray, boxes: list[Box]) -> Item:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = file.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    return Item(id=name, sha256=sha256, read=lambda: data, positives=frozenset(), boxes=tuple(boxes))
