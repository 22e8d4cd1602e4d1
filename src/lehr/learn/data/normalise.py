"""From uint8 pixels to what networks take."""

from __future__ import annotations

import torch

from lehr.learn.data.upload import constant
from lehr.learn.preprocessing import Preprocessing


def normalised(batch_BCSS: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """uint8 [B, 3, S, S] -> float32, (x / 255 - mean) / std; the memory format stays."""
    device = batch_BCSS.device
    mean, std = (
        constant(tuple(values), device).view(1, 3, 1, 1) * 255 for values in (preprocessing.mean, preprocessing.std)
    )
    return (batch_BCSS.float() - mean) / std
