"""Tries out the GPUs that torch sees: `python -m lehr.learn.gpu_trial` prints one line of JSON for each.

Run it in a process of its own: a GPU or a driver that is not in order can end the process that touches it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import torch
from torch import nn

from lehr.learn.device import lacking_kernels


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One GPU."""

    number: int
    name: str
    capability: str
    """As NVIDIA writes it: 8.6."""
    total_bytes: int
    free_bytes: int
    """0 where the driver does not say, which `why` then explains."""
    why: str
    """Why torch cannot compute on it, in a sentence without its full stop; empty where it can."""


def tried(number: int) -> Trial:
    """Looks at a GPU, and computes a convolution and torchvision's NMS there against the processor."""
    properties = torch.cuda.get_device_properties(number)
    free, why = 0, lacking_kernels(number)
    if not why:
        try:
            free = torch.cuda.mem_get_info(number)[0]
            why = wrong_on(f"cuda:{number}")
        except RuntimeError as error:  # torch.AcceleratorError, torch.OutOfMemoryError, a missing operator
            why = f"it fails with {str(error).splitlines()[0].rstrip('.')!r}"
    return Trial(
        number=number,
        name=properties.name,
        capability=f"{properties.major}.{properties.minor}",
        total_bytes=properties.total_memory,
        free_bytes=free,
        why=why,
    )


def wrong_on(device: str) -> str:
    """Which of a convolution and NMS gives another result there than on the processor; empty where none does.

    Raises RuntimeError, torch's own, where they do not run.
    """
    import torchvision

    generator = torch.Generator().manual_seed(0)
    layer = nn.utils.skip_init(nn.Conv2d, 3, 8, 3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        images = torch.randn(2, 3, 32, 32, generator=generator)
        expected = layer(images)
        found = layer.to(device)(images.to(device)).cpu()
    if not torch.allclose(found, expected, atol=0.05, rtol=0.05):  # tensor cores keep ten bits
        return f"a convolution is wrong by {float((found - expected).abs().max()):.3g}"
    corners = torch.rand(64, 2, generator=generator)
    boxes, scores = torch.cat([corners, corners + 0.3], 1), torch.linspace(1, 0, 64)
    kept = torchvision.ops.nms(boxes, scores, 0.5)
    if not torch.equal(torchvision.ops.nms(boxes.to(device), scores.to(device), 0.5).cpu(), kept):
        return "torchvision.ops.nms keeps other boxes than on the processor"
    return ""


def main() -> None:
    """Prints a line as soon as a GPU was tried: the next may end this process."""
    for number in range(torch.cuda.device_count()):
        print(json.dumps(asdict(tried(number))), flush=True)


if __name__ == "__main__":
    main()
