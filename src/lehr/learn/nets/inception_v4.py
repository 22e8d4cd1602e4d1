"""Inception-v4 (Szegedy et al., arXiv 1602.07261): timm's network, cut into a chain of 22 blocks.

42,679,816 parameters with 1,000 classes, 12.25 GMACs at 299 px. timm offers no gradient checkpointing for it; the chain
does.
"""

from __future__ import annotations

from typing import Any

import timm

from lehr.learn.nets.backbone import Backbone
from lehr.learn.nets.stem import Stem, keep_resolution, pad_same, stem_for

NATIVE_SIZE = 299


def inception_v4(*, image_size: int = NATIVE_SIZE, same_padding: bool = False) -> Backbone:
    """Build the network with random weights; 1,536 features, maps of 384, 1,024 and 1,536 channels.

    Args:
        image_size: side of the images in pixels; below 150 low-resolution stems are taken.
        same_padding: keep maps registered with the image, for detectors.
    """
    chain: Any = timm.create_model("inception_v4", num_classes=0).features
    size = stem_for(image_size, NATIVE_SIZE)
    if size is not Stem.FULL:
        keep_resolution(chain[0].conv)
    if size is Stem.NO_POOL:  # the first pooling has a convolution beside it, whose output it joins
        keep_resolution(chain[3].maxpool, chain[3].conv.conv)
    if same_padding:
        pad_same(chain)
    return Backbone(chain, taps=(9, 17, 21), map_channels=(384, 1024, 1536), published_as="inception_v4")
