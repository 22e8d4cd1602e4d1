"""The form in which a network is served: uint8 pixels in, probabilities out; one graph for torch and for export."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lehr.learn.device import Device
from lehr.learn.losses.by_activation import activated
from lehr.learn.preprocessing import Preprocessing


class ServingNet(nn.Module):
    """uint8 [N, H, W, 3] -> float32 [N, K]: normalisation, the network, its activation."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, net: nn.Module, preprocessing: Preprocessing, activation: str) -> None:
        super().__init__()
        self.net, self.activation = net, activation
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1) * 255, persistent=False)
        self.eval()

    def forward(self, views_NHWC: torch.Tensor) -> torch.Tensor:
        """Probabilities."""
        x_NCHW = (views_NHWC.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return activated(self.activation, self.net(x_NCHW))


def run(net: ServingNet, views_NHWC: np.ndarray, device: Device) -> np.ndarray:
    """float32 [N, K] of uint8 [N, H, W, 3], in the device's own precision."""
    with torch.inference_mode(), device.autocast():
        outputs = net(torch.from_numpy(np.ascontiguousarray(views_NHWC)).to(device.name))
    return outputs.float().cpu().numpy()
