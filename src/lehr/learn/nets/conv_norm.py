"""The two bricks of Inception networks: convolution + BatchNorm + ReLU, and parallel branches joined by channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Size = int | tuple[int, int]


class ConvNorm(nn.Module):
    """Convolution without bias, BatchNorm (epsilon 1e-3, as in the Inception papers), ReLU; [N, C, H, W] both ways."""

    def __init__(self, ins: int, outs: int, kernel: Size = 1, *, stride: int = 1, valid: bool = False) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if valid else (height // 2, width // 2)
        self.conv = nn.Conv2d(ins, outs, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outs, eps=1e-3)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Convolve, normalise, rectify."""
        return torch.relu_(self.bn(self.conv(x_NCHW)))


class Branches(nn.Module):
    """Several ways from the same input, concatenated along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """[N, C, H, W] to [N, sum of the branches' channels, H', W']."""
        return torch.cat([branch(x_NCHW) for branch in self.branches], 1)
