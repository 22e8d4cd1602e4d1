"""ResNet-101 (arXiv 1512.03385) and ResNeXt-50 32x4d (arXiv 1611.05431): timm's networks as chains of blocks.

With 1,000 classes: 44,549,160 and 25,028,904 parameters, 7.80 and 4.23 GMACs at 224 px. Their convolutions are padded
already, so detectors need no other variant.
"""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from lehr.learn.nets.backbone import Backbone
from lehr.learn.nets.stem import Stem, keep_resolution, stem_for

NATIVE_SIZE = 224


def resnet101(*, image_size: int = NATIVE_SIZE) -> Backbone:
    """Build ResNet-101 with random weights; 2,048 features, maps of 512, 1,024 and 2,048 channels.

    Below 113 px the first convolution keeps its stride at 1, below 82 px the first pooling goes as well.
    """
    return _chained("resnet101", image_size)


def resnext50(*, image_size: int = NATIVE_SIZE) -> Backbone:
    """Build ResNeXt-50 32x4d with random weights; otherwise as `resnet101`."""
    return _chained("resnext50_32x4d", image_size)


def _chained(architecture: str, image_size: int) -> Backbone:
    net: Any = timm.create_model(architecture, num_classes=0)
    size = stem_for(image_size, NATIVE_SIZE)
    if size is not Stem.FULL:
        keep_resolution(net.conv1)
    pool = nn.Identity() if size is Stem.NO_POOL else net.maxpool
    # one block: the rectifier works in place, so no checkpoint may fall between it and the normalisation
    stem = nn.Sequential(net.conv1, net.bn1, net.act1, pool)
    chain = nn.Sequential(stem, *net.layer1, *net.layer2, *net.layer3, *net.layer4)
    c3 = len(net.layer1) + len(net.layer2)
    taps = (c3, c3 + len(net.layer3), len(chain) - 1)
    return Backbone(chain, taps=taps, map_channels=(512, 1024, 2048), published_as=architecture)
