"""BatchNorm in small batches and in random networks: held still, or its running statistics brought up to date.

Which of these a training takes is for its learner to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lehr.learn.nets.backbone import batchnorms

_FORGETTING = 0.1
"""Weight of a batch in the running statistics of norms."""


def begin_settling(net: nn.Module) -> list[_BatchNorm]:
    """The norms inside, from now on to be settled: see `settle_norms`."""
    norms = list(batchnorms(net))
    for norm in norms:
        norm.momentum = None
    return norms


def settle_norms(norms: Sequence[_BatchNorm]) -> None:
    """Makes running statistics plain means of what was seen, until the usual forgetting is slower than that.

    Else the statistics of the first epochs are mostly those of no picture at all, and evaluations are noise.
    """
    if norms and norms[0].momentum != _FORGETTING:
        seen = int(norms[0].num_batches_tracked or 0)
        for norm in norms:
            norm.momentum = max(_FORGETTING, 1.0 / (1 + seen))


@torch.no_grad()
def measure_afresh(net: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Replaces the running statistics of the norms inside by those over the batches, with the weights as they are.

    While weights move fast, running means lag behind them and evaluations are noise ("precise BatchNorm", Wu and
    Johnson, arXiv 2105.07576).
    """
    for norm in batchnorms(net):
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
    net.train()
    for batch in batches:
        net(batch)


def hold_norms(net: nn.Module) -> None:
    """Keeps norms in evaluation mode for good: statistics of a few pictures are noise."""
    for norm in batchnorms(net):
        norm.train = partial(_stay_in_evaluation, norm)  # type: ignore[assignment,method-assign]
        norm.eval()


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    module.training = False
    return module
