"""EfficientNet-Lite0 as a backbone: the network of Lehr's built-in pretrained base, with maps for detectors.

4,652,008 parameters with 1,000 classes, 0.39 GMACs at 224 px. Published weights assume TensorFlow's padding, which at
even sizes puts the odd pixel on the far side and so shifts each halved map by one of its pixels. Detectors take the
symmetric padding instead: the same features, registered with the anchors.
"""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from lehr.learn.nets.backbone import Backbone
from lehr.learn.nets.stem import Stem, keep_resolution, stem_for

NATIVE_SIZE = 224
PUBLISHED = "tf_efficientnet_lite0"


def efficientnet_lite0(*, image_size: int = NATIVE_SIZE, same_padding: bool = False) -> Backbone:
    """Build the network with random weights; 1,280 features, maps of 40, 112 and 1,280 channels.

    Args:
        image_size: side of the images in pixels; below 113 the first convolution keeps stride 1.
        same_padding: symmetric padding, for detectors.
    """
    architecture = "efficientnet_lite0" if same_padding else PUBLISHED
    net: Any = timm.create_model(architecture, num_classes=0, bn_eps=1e-3)
    if stem_for(image_size, NATIVE_SIZE) is not Stem.FULL:
        keep_resolution(net.conv_stem)
    stages = [list(stage) for stage in net.blocks]
    stem, last = nn.Sequential(net.conv_stem, net.bn1), nn.Sequential(net.conv_head, net.bn2)
    chain = nn.Sequential(stem, *(block for stage in stages for block in stage), last)
    ends = [sum(map(len, stages[: count + 1])) for count in range(len(stages))]
    return Backbone(
        chain, taps=(ends[2], ends[4], len(chain) - 1), map_channels=(40, 112, 1280), published_as=PUBLISHED
    )
