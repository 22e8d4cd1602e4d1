"""A small, fast convolutional network for small pictures, after airbench94 (Keller Jordan, arXiv 2404.00498).

Whitened 2 x 2 patches, then three groups of two 3 x 3 convolutions, then a linear layer. The convolutions begin as the
identity, norms have no scale to learn, and logits are small at first: together they make a few epochs enough.
Legend: N batch, C channels, K concepts, P patches.
"""

from __future__ import annotations

import torch
from torch import nn

_PATCH = 2
_LOGIT_SCALE = 1 / 9
_UNUSED = 1e-6
"""A direction with less than this share of the largest variance is not used by the pictures."""
_WIDTHS = (64, 256, 256)


class Airbench(nn.Module):
    """Normalised float [N, 3, S, S], S at least 16 -> logits [N, K]. 1.97 million parameters at width 1 and K = 10."""

    def __init__(self, num_concepts: int, width_multiplier: float = 1.0) -> None:
        super().__init__()
        widths = [max(8, 8 * round(width * width_multiplier / 8)) for width in _WIDTHS]
        num_whitened = 2 * 3 * _PATCH**2
        self.whiten = nn.Conv2d(3, num_whitened, _PATCH)
        self.whiten.weight.requires_grad = False
        self.groups = nn.Sequential(
            *(_Group(into, out) for into, out in zip([num_whitened, *widths[:-1]], widths, strict=True))
        )
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Linear(widths[-1], num_concepts)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits [N, K]."""
        with torch.autocast(x_NCHW.device.type, enabled=False):  # whitening amplifies rounding: grey pictures need it
            x_NCHW = nn.functional.gelu(self.whiten(x_NCHW.float()))
        x_NC = self.pool(self.groups(x_NCHW)).flatten(1)
        return nn.functional.linear(x_NC, self.head.weight * _LOGIT_SCALE, self.head.bias)

    @torch.no_grad()
    def whiten_by(self, images_NCHW: torch.Tensor) -> None:
        """Sets the first layer to the eigenvectors of the 2 x 2 patches of some training pictures, and their negatives.

        Each is scaled to unit variance. Directions that the pictures do not use (grey ones have no colour) are replaced
        by mixtures of the used ones: whitened they would be rounding errors, and left at zero they would make the
        gradients through the next norm explode. Computed in float64 on the CPU, the same everywhere.
        """
        x_NCHW = images_NCHW.detach().to("cpu", torch.float64)
        patches_PD = nn.functional.unfold(x_NCHW, _PATCH).transpose(1, 2).reshape(-1, 3 * _PATCH**2)
        values_D, vectors_DD = torch.linalg.eigh(patches_PD.T @ patches_PD / len(patches_PD))
        is_used_D = values_D > _UNUSED * values_D.max()
        used_UD = (vectors_DD / (values_D.clamp_min(0.0) + 5e-4).sqrt()).T[is_used_D]
        mixing = torch.randn(len(values_D) - len(used_UD), len(used_UD), generator=torch.Generator().manual_seed(0))
        mixed_MD = nn.functional.normalize(mixing.double()) @ used_UD
        filters = torch.cat([mixed_MD, used_UD]).reshape(-1, 3, _PATCH, _PATCH)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))
        self.whiten.bias.zero_()  # type: ignore[union-attr]


class _Group(nn.Module):
    """Convolution, pool, norm, GELU, convolution, norm, GELU: halves the sides."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(into, out), _norm(out)
        self.conv2, self.norm2 = _conv(out, out), _norm(out)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        x_NCHW = nn.functional.max_pool2d(self.conv1(x_NCHW), 2)
        x_NCHW = nn.functional.gelu(self.norm1(x_NCHW))
        return nn.functional.gelu(self.norm2(self.conv2(x_NCHW)))


def _conv(into: int, out: int) -> nn.Conv2d:
    """3 x 3 without bias; the first filters pass their input through, the others are random."""
    conv = nn.Conv2d(into, out, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[: min(into, out)])
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    """A norm with a shift but a fixed scale of 1, and quickly moving statistics: trainings are short."""
    norm = nn.BatchNorm2d(channels, eps=1e-5, momentum=0.4)
    norm.weight.requires_grad = False
    return norm
