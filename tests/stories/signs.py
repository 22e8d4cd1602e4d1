"""Made-up signs on busy grounds: a kind is its strokes, and everything else about a picture is chance.

What a network that learned photographs notes first, the colours and the ground, says nothing here.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw

SIDE = 96
STROKES = 5


def sign(kind: int, seed: int) -> bytes:
    """A PNG of the sign of this kind: turned, moved and stretched a little, in some colour on some ground."""
    strokes = np.random.default_rng(kind).uniform(0.12, 0.88, (STROKES, 2, 2)) - 0.5
    rng = np.random.default_rng((kind, seed))
    angle = rng.uniform(-0.2, 0.2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (strokes @ turn * rng.uniform(0.8, 1.05, 2) + 0.5 + rng.uniform(-0.06, 0.06, 2)) * SIDE
    points += rng.normal(0, 1.2, points.shape)
    dark, light = rng.integers(0, 90, 3), rng.integers(165, 256, 3)
    ink, ground = (dark, light) if rng.random() < 0.5 else (light, dark)
    image = _ground(rng, ground)
    draw = ImageDraw.Draw(image)
    for start, end in points:
        draw.line([tuple(start), tuple(end)], fill=tuple(ink.tolist()), width=int(rng.integers(3, 7)))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _ground(rng: np.random.Generator, colour: np.ndarray) -> Image.Image:
    """Soft patches around a colour."""
    patches = (colour + rng.normal(0, 22, (6, 6, 3))).clip(0, 255).astype(np.uint8)
    return Image.fromarray(patches).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
