"""Parameter groups, and the slow average that some recipes follow."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import torch
from torch import nn

from lehr.learn.recipe import Descent


def make_optimiser(net: nn.Module, descent: Descent) -> torch.optim.SGD:
    """SGD over the parameters that need gradients, one group per (factor of the step size, weight decay).

    A group's "factor" times the current step size is its "lr"; see `set_lr`.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            decay = descent.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((_factor(name, descent), decay), []).append(parameter)
    options = [
        {"params": parameters, "factor": factor, "weight_decay": decay, "lr": 0.0}
        for (factor, decay), parameters in groups.items()
    ]
    return torch.optim.SGD(options, lr=0.0, momentum=descent.momentum, nesterov=descent.is_nesterov, fused=True)


def shorten_gradients(net: nn.Module, descent: Descent) -> None:
    """Brings gradients down to the lengths that the descent allows, before the step.

    Tensor by tensor is for deep random networks without shortcuts: norms make gradients grow by a fifth per layer on
    the way back (Yang et al., arXiv 1902.08129). Those of a random Inception-v4 detector were 13,000 long, nearly all
    of it in the first layers: shortened together, the head learned nothing until the weights had grown.
    """
    if descent.max_tensor_gradient_norm:
        gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
        norms = torch.stack(torch._foreach_norm(gradients))
        factors = (descent.max_tensor_gradient_norm / norms.clamp_min(1e-12)).clamp_max(1.0)
        torch._foreach_mul_(gradients, list(factors.unbind()))
    if descent.max_gradient_norm:
        nn.utils.clip_grad_norm_(net.parameters(), descent.max_gradient_norm)


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Sets the step size of this update."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["factor"]


def optimiser_tensors(net: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's memory, by kind and parameter: "momentum_buffer/conv.weight"."""
    return {
        f"{kind}/{name}": value
        for name, parameter in net.named_parameters()
        for kind, value in optimiser.state.get(parameter, {}).items()
        if isinstance(value, torch.Tensor)
    }


def restore_optimiser(net: nn.Module, optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """The inverse of `optimiser_tensors`."""
    parameters = dict(net.named_parameters())
    for key, value in tensors.items():
        kind, name = key.split("/", 1)
        parameter = parameters[name]
        copied = torch.empty_like(parameter).copy_(value)  # in the parameter's own memory format
        optimiser.state[parameter][kind] = copied


class Lookahead:
    """Every five steps the weights are pulled to a slow average of themselves, hardly at first, strongly at the end.

    (Zhang et al., "Lookahead Optimizer: k steps forward, 1 step back", arXiv 1907.08610; the growing pull is that of
    github.com/KellerJordan/cifar10-airbench.) Averages every floating-point value of the net, statistics of norms too.
    """

    EVERY = 5

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.slow = {name: value.clone() for name, value in _floats(net).items()}

    @torch.no_grad()
    def follow(self, step: int, num_steps: int) -> None:
        """Call after update `step` (from 1); the last one leaves the average itself in the net."""
        if step % self.EVERY and step < num_steps:
            return
        pull = 1.0 if step == num_steps else 0.95**self.EVERY * (step / num_steps) ** 3
        for name, value in _floats(self.net).items():
            self.slow[name].lerp_(value, 1.0 - pull)
            value.copy_(self.slow[name])

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Takes the slow average from a checkpoint."""
        for name, value in tensors.items():
            self.slow[name].copy_(value)


def _floats(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in net.state_dict().items() if value.is_floating_point()}


def _factor(name: str, descent: Descent) -> float:
    return next((factor for pattern, factor in descent.multipliers if fnmatchcase(name, pattern)), 1.0)
