"""Inception-v2 of "Rethinking the Inception Architecture" (Szegedy et al., arXiv 1512.00567, Table 1).

Not the BN-Inception that some libraries call "inception_v2": that one is in bn_inception.py.

The table gives the widths of concatenations; widths inside the branches are those of the authors' released
Inception-v3, which reproduce every width of the table. The table prints five modules of Figure 6, the released network
has four, and only four keep the abstract's "less than 25 million parameters": four are used. With 1,000 classes the
Table-1 layout has 24,263,240 parameters and 5.87 GMACs at 299 px; the layout of Inception-v3 has the 23,834,568 of
timm's `inception_v3` and takes its weights.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from lehr.learn.nets.backbone import Backbone
from lehr.learn.nets.conv_norm import Branches, ConvNorm
from lehr.learn.nets.stem import Stem, pad_same, stem_for

StemLayout = Literal["table1", "v3"]
SecondBranch = Literal["3x3", "5x5"]
NATIVE_SIZE = 299


def inception_v2(
    *,
    image_size: int = NATIVE_SIZE,
    stem: StemLayout = "table1",
    a_branch: SecondBranch | None = None,
    same_padding: bool = False,
) -> Backbone:
    """Build the network with random weights; 2,048 features, maps of 288, 768 and 2,048 channels.

    Args:
        image_size: side of the images in pixels; below 150 the paper's low-resolution stems are taken.
        stem: the paper's Table 1, or that of Inception-v3 (for which pretrained weights exist).
        a_branch: kernel of the first modules' second branch; by default the one that belongs to the stem.
        same_padding: keep maps registered with the image, for detectors.
    """
    size = stem_for(image_size, NATIVE_SIZE)
    branch = a_branch or ("5x5" if stem == "v3" else "3x3")
    first = _stem_table1(size) if stem == "table1" else _stem_v3(size)
    modules = _modules_a(stem, 5 if branch == "5x5" else 3)
    late = [
        _reduce_a(),
        *(_module_b(width) for width in (128, 160, 160, 192)),
        _reduce_b(),
        _module_c(1280),
        _module_c(2048),
    ]
    chain = nn.Sequential(*first, *modules, *late)
    if same_padding:
        pad_same(chain)
    last = len(chain) - 1
    fits = "inception_v3" if (stem, branch) == ("v3", "5x5") else ""
    return Backbone(chain, taps=(last - 8, last - 3, last), map_channels=(288, 768, 2048), published_as=fits)


def _first_three(size: Stem) -> list[nn.Module]:
    return [
        ConvNorm(3, 32, 3, stride=2 if size is Stem.FULL else 1, valid=True),
        ConvNorm(32, 32, 3, valid=True),
        ConvNorm(32, 64, 3),
        nn.Identity() if size is Stem.NO_POOL else nn.MaxPool2d(3, 2),
    ]


def _stem_table1(size: Stem) -> list[nn.Module]:
    return [
        *_first_three(size),
        ConvNorm(64, 80, 3, valid=True),
        ConvNorm(80, 192, 3, stride=2, valid=True),
        ConvNorm(192, 288, 3),
    ]


def _stem_v3(size: Stem) -> list[nn.Module]:
    return [*_first_three(size), ConvNorm(64, 80), ConvNorm(80, 192, 3, valid=True), nn.MaxPool2d(3, 2)]


def _modules_a(stem: StemLayout, kernel: int) -> list[nn.Module]:
    ins_and_pooled = ((192, 32), (256, 64), (288, 64)) if stem == "v3" else ((288, 64),) * 3
    return [_module_a(ins, pooled, kernel) for ins, pooled in ins_and_pooled]


def _average(ins: int, outs: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1), ConvNorm(ins, outs))


def _module_a(ins: int, pooled: int, kernel: int) -> Branches:
    """Figure 5 of the paper."""
    return Branches(
        ConvNorm(ins, 64),
        nn.Sequential(ConvNorm(ins, 48), ConvNorm(48, 64, kernel)),
        nn.Sequential(ConvNorm(ins, 64), ConvNorm(64, 96, 3), ConvNorm(96, 96, 3)),
        _average(ins, pooled),
    )


def _reduce_a() -> Branches:
    """Figure 10: 288 channels to 768, half the size."""
    return Branches(
        ConvNorm(288, 384, 3, stride=2, valid=True),
        nn.Sequential(ConvNorm(288, 64), ConvNorm(64, 96, 3), ConvNorm(96, 96, 3, stride=2, valid=True)),
        nn.MaxPool2d(3, 2),
    )


def _module_b(width: int) -> Branches:
    """Figure 6 with n = 7."""
    return Branches(
        ConvNorm(768, 192),
        nn.Sequential(ConvNorm(768, width), ConvNorm(width, width, (1, 7)), ConvNorm(width, 192, (7, 1))),
        nn.Sequential(
            ConvNorm(768, width),
            ConvNorm(width, width, (7, 1)),
            ConvNorm(width, width, (1, 7)),
            ConvNorm(width, width, (7, 1)),
            ConvNorm(width, 192, (1, 7)),
        ),
        _average(768, 192),
    )


def _reduce_b() -> Branches:
    """768 channels to 1,280, half the size."""
    return Branches(
        nn.Sequential(ConvNorm(768, 192), ConvNorm(192, 320, 3, stride=2, valid=True)),
        nn.Sequential(
            ConvNorm(768, 192),
            ConvNorm(192, 192, (1, 7)),
            ConvNorm(192, 192, (7, 1)),
            ConvNorm(192, 192, 3, stride=2, valid=True),
        ),
        nn.MaxPool2d(3, 2),
    )


def _module_c(ins: int) -> Branches:
    """Figure 7: the filter bank is widened, not deepened; always 2,048 channels out."""
    return Branches(
        ConvNorm(ins, 320),
        nn.Sequential(ConvNorm(ins, 384), _split(384)),
        nn.Sequential(ConvNorm(ins, 448), ConvNorm(448, 384, 3), _split(384)),
        _average(ins, 192),
    )


def _split(width: int) -> Branches:
    return Branches(ConvNorm(width, width, (1, 3)), ConvNorm(width, width, (3, 1)))
