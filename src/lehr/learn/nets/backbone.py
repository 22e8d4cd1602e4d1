"""What every convolutional network here has in common: pooled features, maps for detectors, and four switches.

A backbone is a plain chain of blocks. That one fact gives everything else: where the detector's maps are tapped, where
gradient checkpointing cuts, and in which order published weights are laid into it. The classifying layer is not here.

Shapes: N images, C channels, D features, H and W rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

MapsCHW = tuple[Tensor, Tensor, Tensor]


class Backbone(nn.Module):
    """A chain of blocks from images to feature maps.

    Args:
        blocks: in forward order; each takes and gives one [N, C, H, W] tensor.
        taps: indices of the last block at strides 8, 16 and 32 (the detector's C3, C4, C5).
        map_channels: channels of those three maps; the last is also the length of the embedding.
        published_as: the timm architecture whose weights fit 1:1, or "" where there is none.

    Images are float [N, 3, H, W], already normalised.
    """

    def __init__(
        self,
        blocks: nn.Sequential,
        *,
        taps: tuple[int, int, int],
        map_channels: tuple[int, int, int],
        published_as: str = "",
    ) -> None:
        super().__init__()
        assert taps[2] == len(blocks) - 1, f"the last tap is block {taps[2]}, the last block {len(blocks) - 1}"
        self.blocks = blocks
        self.taps = taps
        self.map_channels = map_channels
        self.published_as = published_as
        self.checkpoint_segments = 0
        self.is_batchnorm_frozen = False

    @property
    def num_features(self) -> int:
        """Length of the pooled embedding."""
        return self.map_channels[2]

    def features(self, x_NCHW: Tensor) -> Tensor:
        """The globally averaged last map, [N, num_features]."""
        return F.adaptive_avg_pool2d(self.maps(x_NCHW)[2], 1).flatten(1)

    def maps(self, x_NCHW: Tensor) -> MapsCHW:
        """The maps C3, C4, C5 at strides 8, 16, 32: [N, map_channels[i], ~H / stride, ~W / stride]."""
        ends = sorted({*self.taps, *self._cuts()})
        tapped, start = [], 0
        for end in ends:
            x_NCHW = self._segment(start, end + 1, x_NCHW)
            start = end + 1
            if end in self.taps:
                tapped.append(x_NCHW)
        return tapped[0], tapped[1], tapped[2]

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Same as `features`."""
        return self.features(x_NCHW)

    def checkpoint_gradients(self, segments: int | None = None) -> None:
        """Keep only the inputs of `segments` runs of blocks for the backward pass, and recompute the rest there.

        Costs about one more forward pass and gives the same gradients and the same BatchNorm statistics. None takes the
        square root of the number of blocks (Chen et al., arXiv 1604.06174); 0 switches it off. Inception-v4, 8 images
        of 299 px in float32 on a CPU: a step peaks at 1.7 GB instead of 2.5, of which the bare process is 0.9.
        """
        self.checkpoint_segments = round(math.sqrt(len(self.blocks))) if segments is None else segments

    def freeze_batchnorm(self, frozen: bool = True) -> None:
        """Hold BatchNorm's running statistics (scale and shift still train), through later calls of `train` too.

        Without pretrained weights leave it live: the statistics of a random network say nothing.
        """
        self.is_batchnorm_frozen = frozen
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """As `nn.Module.train`, except that frozen BatchNorm layers stay in evaluation mode."""
        super().train(mode)
        if self.is_batchnorm_frozen:
            for layer in batchnorms(self):
                layer.eval()
        return self

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Lay timm's weights of the same architecture into the blocks; a classifying layer in `state` is left out.

        Raises ValueError where there is no such architecture, a tensor is missing or a shape differs.
        """
        if not self.published_as:
            raise ValueError("no published weights fit this layout; build the network in a layout that has some")
        load_in_order(self, published_keys(self.published_as), state)

    def _cuts(self) -> list[int]:
        """Indices of the blocks that end a checkpointed segment."""
        if not self.checkpoint_segments:
            return []
        count, segments = len(self.blocks), min(self.checkpoint_segments, len(self.blocks))
        return [count * (i + 1) // segments - 1 for i in range(segments)]

    def _segment(self, start: int, end: int, x_NCHW: Tensor) -> Tensor:
        run = self.blocks[start:end]
        if self.checkpoint_segments and torch.is_grad_enabled() and self.training:
            return checkpoint(run, x_NCHW, use_reentrant=False, context_fn=recompute_without_statistics(run))
        return run(x_NCHW)


def batchnorms(module: nn.Module) -> Iterator[_BatchNorm]:
    """Every BatchNorm layer inside, in order."""
    return (layer for layer in module.modules() if isinstance(layer, _BatchNorm))


def freeze_batchnorm(module: nn.Module, frozen: bool = True) -> None:
    """Freeze (or let live) the BatchNorm layers of every backbone inside `module`."""
    for layer in module.modules():
        if isinstance(layer, Backbone):
            layer.freeze_batchnorm(frozen)


def checkpoint_gradients(module: nn.Module, segments: int | None = None) -> None:
    """Switch gradient checkpointing of every backbone inside `module`; see `Backbone.checkpoint_gradients`."""
    for layer in module.modules():
        if isinstance(layer, Backbone):
            layer.checkpoint_gradients(segments)


def recompute_without_statistics(
    module: nn.Module,
) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
    """Contexts for `checkpoint`: the second forward pass must not move running statistics a second time."""
    return lambda: (nullcontext(), _statistics_held(list(batchnorms(module))))


@contextmanager
def _statistics_held(layers: list[_BatchNorm]) -> Iterator[None]:
    # momentum 0 and no counter: nothing is written, yet as many tensors are saved as in the first pass
    kept = [(layer, layer.momentum, layer.num_batches_tracked) for layer in layers]
    for layer in layers:
        layer.momentum, layer.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for layer, momentum, count in kept:
            layer.momentum, layer.num_batches_tracked = momentum, count


def published_keys(architecture: str) -> list[str]:
    """Names of timm's tensors for an architecture, in the network's order, without the classifying layer."""
    import timm

    with torch.device("meta"):
        return list(timm.create_model(architecture, num_classes=0).state_dict())


def load_in_order(module: nn.Module, keys: list[str], state: Mapping[str, Tensor]) -> None:
    """Copy `state[key]`, for each of `keys`, into the module's tensors, first to first.

    Raises ValueError naming what is missing or the first tensor whose shape or kind differs.
    """
    own = module.state_dict()
    missing = [key for key in keys if key not in state]
    if missing or len(own) != len(keys):
        raise ValueError(
            f"the weights do not fit: {len(own)} tensors are needed, {len(keys) - len(missing)} of {len(keys)} were "
            f"found; missing are {', '.join(missing[:3]) or 'none'}. Give weights of this very architecture."
        )
    for name, key in zip(own, keys, strict=True):
        if own[name].shape != state[key].shape or name.rsplit(".", 1)[-1] != key.rsplit(".", 1)[-1]:
            raise ValueError(
                f"the weights do not fit: {key} is {tuple(state[key].shape)}, {name} needs {tuple(own[name].shape)}."
            )
    module.load_state_dict(dict(zip(own, (state[key] for key in keys), strict=True)))
