"""BN-Inception (Ioffe & Szegedy, arXiv 1502.03167, Figure 5), the network that TF-Slim calls "inception_v2".

Not the Inception-v2 of the "Rethinking" paper: that one is in inception_v2.py.

The figure prints "avg + 128" for modules 4c and 4d, which does not add up to its own 576 channels; 96 is used, as
TF-Slim does. With 1,000 classes: 11,188,288 parameters and 1.94 GMACs at 224 px with the paper's separable stem,
11,194,984 and 2.02 GMACs with a plain one. Every stride rounds sizes up, so maps stay registered with the image: good
for detectors as it is. The pooled 5b concatenation is the 1,024-d embedding known as "mod5B.concat".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from lehr.learn.nets.backbone import Backbone
from lehr.learn.nets.conv_norm import Branches, ConvNorm
from lehr.learn.nets.stem import Stem, stem_for

NATIVE_SIZE = 224


@dataclass(frozen=True)
class _Row:
    """One row of Figure 5: widths of the 1x1, the 3x3 and the double 3x3 branch (reduction, output), the pooling."""

    one: int
    three: tuple[int, int]
    double: tuple[int, int]
    pool: tuple[Literal["avg", "max"], int]

    @property
    def outs(self) -> int:
        return self.one + self.three[1] + self.double[1] + self.pool[1]


_3A_3B = (
    _Row(64, (64, 64), (64, 96), ("avg", 32)),
    _Row(64, (64, 96), (64, 96), ("avg", 64)),
)
_4A_TO_4D = (
    _Row(224, (64, 96), (96, 128), ("avg", 128)),
    _Row(192, (96, 128), (96, 128), ("avg", 128)),
    _Row(160, (128, 160), (128, 160), ("avg", 96)),
    _Row(96, (128, 192), (160, 192), ("avg", 96)),
)
_5A_5B = (
    _Row(352, (192, 320), (160, 224), ("avg", 128)),
    _Row(352, (192, 320), (192, 224), ("max", 128)),
)


def bn_inception(*, image_size: int = NATIVE_SIZE, stem: Literal["separable", "plain"] = "separable") -> Backbone:
    """Build the network with random weights; 1,024 features, maps of 320 (3b), 576 (4d) and 1,024 (5b) channels.

    Args:
        image_size: side of the images in pixels; below 113 the first convolution keeps stride 1, below 82 the first
            pooling goes as well.
        stem: the paper's depthwise 7x7 (3 to 24 channels) with a 1x1 to 64, or the plain 7x7 of other ports.
    """
    size = stem_for(image_size, NATIVE_SIZE)
    stride = 2 if size is Stem.FULL else 1
    chain = nn.Sequential(
        SeparableStem(stride) if stem == "separable" else ConvNorm(3, 64, 7, stride=stride),
        nn.Identity() if size is Stem.NO_POOL else _halve(),
        ConvNorm(64, 64),
        ConvNorm(64, 192, 3),
        _halve(),
        *_modules(192, _3A_3B),
        _reduction(320, (128, 160), (64, 96)),
        *_modules(576, _4A_TO_4D),
        _reduction(576, (128, 192), (192, 256)),
        *_modules(1024, _5A_5B),
    )
    return Backbone(chain, taps=(6, 11, 14), map_channels=(320, 576, 1024))


class SeparableStem(nn.Module):
    """Depthwise 7x7 with eight filters per colour, 1x1 to 64 channels, BatchNorm, ReLU."""

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(3, 24, 7, stride, 3, groups=3, bias=False)
        self.pointwise = ConvNorm(24, 64)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 64, H / stride, W / stride]."""
        return self.pointwise(self.depthwise(x_NCHW))


def _halve() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, 1)


def _modules(ins: int, rows: tuple[_Row, ...]) -> Iterator[Branches]:
    for row in rows:
        yield _module(ins, row)
        ins = row.outs


def _module(ins: int, row: _Row) -> Branches:
    kind, pooled = row.pool
    pool = nn.MaxPool2d(3, 1, 1) if kind == "max" else nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return Branches(
        ConvNorm(ins, row.one),
        nn.Sequential(ConvNorm(ins, row.three[0]), ConvNorm(row.three[0], row.three[1], 3)),
        _double(ins, row.double, stride=1),
        nn.Sequential(pool, ConvNorm(ins, pooled)),
    )


def _reduction(ins: int, three: tuple[int, int], double: tuple[int, int]) -> Branches:
    """Modules 3c and 4e: half the size; the pooled input passes through."""
    return Branches(
        nn.Sequential(ConvNorm(ins, three[0]), ConvNorm(three[0], three[1], 3, stride=2)),
        _double(ins, double, stride=2),
        _halve(),
    )


def _double(ins: int, widths: tuple[int, int], *, stride: int) -> nn.Sequential:
    inner, outs = widths
    return nn.Sequential(ConvNorm(ins, inner), ConvNorm(inner, outs, 3), ConvNorm(outs, outs, 3, stride=stride))


def load_tf_slim(backbone: Backbone, variables: Mapping[str, np.ndarray]) -> None:
    """Lay the variables of TF-Slim's `inception_v2` checkpoint (names to arrays) into the separable-stem network.

    TF-Slim learns no BatchNorm scale, and its stem has a bias where ours has a BatchNorm: both are expressed exactly.
    Its images are RGB in [-1, 1]. Raises ValueError naming the variables that are missing.
    """
    convolutions = [name for name, module in backbone.named_modules() if isinstance(module, ConvNorm)][1:]
    scopes = dict(zip(convolutions, _slim_scopes(), strict=True))
    missing = [name for name in _slim_variables(scopes.values()) if name not in variables]
    if missing:
        raise ValueError(f"{len(missing)} variables are not in the checkpoint, first {missing[0]}; give TF-Slim's own.")
    state = backbone.state_dict()
    state.update(_slim_stem(variables, variance_epsilon=1e-3))
    for name, scope in scopes.items():
        state[f"{name}.conv.weight"] = _transposed(variables[f"{scope}/weights"])
        for ours, theirs in _SLIM_NORM.items():
            state[f"{name}.bn.{ours}"] = torch.as_tensor(variables[f"{scope}/BatchNorm/{theirs}"])
        state[f"{name}.bn.weight"] = torch.ones_like(state[f"{name}.bn.bias"])
    backbone.load_state_dict(state)


_SLIM = "InceptionV2"
_SLIM_STEM = f"{_SLIM}/Conv2d_1a_7x7"
_SLIM_NORM = {"bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_SLIM_MODULE = (
    ("Branch_0", ("0a_1x1",)),
    ("Branch_1", ("0a_1x1", "0b_3x3")),
    ("Branch_2", ("0a_1x1", "0b_3x3", "0c_3x3")),
    ("Branch_3", ("0b_1x1",)),
)
_SLIM_REDUCTION = (
    ("Branch_0", ("0a_1x1", "1a_3x3")),
    ("Branch_1", ("0a_1x1", "0b_3x3", "1a_3x3")),
)


def _slim_scopes() -> Iterator[str]:
    """TF-Slim's scope of every convolution after the stem, in the network's order."""
    yield f"{_SLIM}/Conv2d_2b_1x1"
    yield f"{_SLIM}/Conv2d_2c_3x3"
    for mixed in ("3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b", "5c"):
        branches = _SLIM_REDUCTION if mixed in {"4a", "5a"} else _SLIM_MODULE
        for branch, convolutions in branches:
            yield from (f"{_SLIM}/Mixed_{mixed}/{branch}/Conv2d_{name}" for name in convolutions)


def _slim_variables(scopes: Iterable[str]) -> Iterator[str]:
    yield from (f"{_SLIM_STEM}/{kind}" for kind in ("depthwise_weights", "pointwise_weights", "biases"))
    for scope in scopes:
        yield f"{scope}/weights"
        yield from (f"{scope}/BatchNorm/{name}" for name in _SLIM_NORM.values())


def _slim_stem(variables: Mapping[str, np.ndarray], *, variance_epsilon: float) -> dict[str, Tensor]:
    depthwise = torch.as_tensor(variables[f"{_SLIM_STEM}/depthwise_weights"])  # [7, 7, 3, 8]
    bias = torch.as_tensor(variables[f"{_SLIM_STEM}/biases"])
    norm = "blocks.0.pointwise.bn"
    return {
        "blocks.0.depthwise.weight": depthwise.permute(2, 3, 0, 1).reshape(24, 1, 7, 7).contiguous(),
        "blocks.0.pointwise.conv.weight": _transposed(variables[f"{_SLIM_STEM}/pointwise_weights"]),
        f"{norm}.weight": torch.ones_like(bias),
        f"{norm}.bias": bias,
        f"{norm}.running_mean": torch.zeros_like(bias),
        f"{norm}.running_var": torch.full_like(bias, 1 - variance_epsilon),
    }


def _transposed(weights_HWIO: np.ndarray) -> Tensor:
    return torch.as_tensor(weights_HWIO).permute(3, 2, 0, 1).contiguous()
