"""How a network meets its image: stems for small images, and padding that keeps maps registered for detectors.

Both change strides and paddings only, never a weight, so pretrained weights fit every variant.
"""

from __future__ import annotations

from enum import Enum

from torch import nn


class Stem(Enum):
    """How much the first layers shrink the image ("Rethinking the Inception Architecture", section 9)."""

    FULL = "full"
    STRIDE_1 = "stride 1 in the first convolution"
    NO_POOL = "stride 1 in the first convolution and no first pooling"


def stem_for(image_size: int, native_size: int) -> Stem:
    """The stem that keeps a small image's maps about as large as those of an image of `native_size`.

    The paper's pairs are 299 px full, 151 px with stride 1, 79 px without the first pooling as well. Between the last
    two the line is drawn at their geometric mean, 109 px. Other native sizes scale in proportion.
    """
    if image_size >= native_size * 150 / 299:
        return Stem.FULL
    return Stem.STRIDE_1 if image_size >= native_size * 109 / 299 else Stem.NO_POOL


def keep_resolution(*layers: nn.Module) -> None:
    """Set the stride of convolutions and poolings to 1."""
    for layer in layers:
        assert isinstance(layer, nn.Conv2d | nn.MaxPool2d), f"{type(layer).__name__} has no stride to change"
        layer.stride = (1, 1) if isinstance(layer, nn.Conv2d) else 1


def pad_same(module: nn.Module) -> None:
    """Pad every unpadded convolution and max pooling by half its kernel.

    Sizes then halve exactly (512 px gives 64, 32, 16), so anchors laid from the corner and the levels of a feature
    pyramid register with the pixels; unpadded Inception maps are 61, 30, 14 and shifted by 13, 21, 37 px.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and max(_pair(layer.padding)) == 0:
            layer.padding = tuple(size // 2 for size in layer.kernel_size)
        elif isinstance(layer, nn.MaxPool2d) and max(_pair(layer.padding)) == 0 and not layer.ceil_mode:
            layer.padding = _pair(layer.kernel_size)[0] // 2


def _pair(value: object) -> tuple[int, int]:
    assert isinstance(value, int | tuple), f"padding by name ({value!r}) is not expected here"
    return (value, value) if isinstance(value, int) else (value[0], value[1])
