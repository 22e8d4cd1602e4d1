"""From uint8 pixels to what networks take."""

from __future__ import annotations

import torch

from lehr.learn.preprocessing import Preprocessing


def normalised(batch_BCSS: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """uint8 [B, 3, S, S] -> float32, (x / 255 - mean) / std; the memory format stays."""
    device = batch_BCSS.device
    mean = torch.tensor(preprocessing.mean, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(preprocessing.std, device=device).view(1, 3, 1, 1) * 255
    return (batch_BCSS.float() - mean) / std
