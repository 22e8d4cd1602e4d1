"""Inception-ResNet-v2 as its authors released it: timm's network, cut into a chain of blocks.

The released network (10, 20 and 10 residual blocks, Inception-v3's stem), not the paper's: weights exist for it.
55,843,464 parameters with 1,000 classes, 13.16 GMACs at 299 px.
"""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from lehr.learn.nets.backbone import Backbone
from lehr.learn.nets.stem import Stem, keep_resolution, pad_same, stem_for

NATIVE_SIZE = 299


def inception_resnet_v2(*, image_size: int = NATIVE_SIZE, same_padding: bool = False) -> Backbone:
    """Build the network with random weights; 1,536 features, maps of 320, 1,088 and 1,536 channels.

    Args:
        image_size: side of the images in pixels; below 150 low-resolution stems are taken.
        same_padding: keep maps registered with the image, for detectors.
    """
    net: Any = timm.create_model("inception_resnet_v2", num_classes=0)
    size = stem_for(image_size, NATIVE_SIZE)
    if size is not Stem.FULL:
        keep_resolution(net.conv2d_1a.conv)
    pool = nn.Identity() if size is Stem.NO_POOL else net.maxpool_3a
    stem = [net.conv2d_1a, net.conv2d_2a, net.conv2d_2b, pool, net.conv2d_3b, net.conv2d_4a, net.maxpool_5a]
    stride_8 = [*stem, net.mixed_5b, *net.repeat]
    stride_16 = [net.mixed_6a, *net.repeat_1]
    stride_32 = [net.mixed_7a, *net.repeat_2, net.block8, net.conv2d_7b]
    chain = nn.Sequential(*stride_8, *stride_16, *stride_32)
    if same_padding:
        pad_same(chain)
    taps = (len(stride_8) - 1, len(stride_8) + len(stride_16) - 1, len(chain) - 1)
    return Backbone(chain, taps=taps, map_channels=(320, 1088, 1536), published_as="inception_resnet_v2")
