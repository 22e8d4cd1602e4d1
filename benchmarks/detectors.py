"""A detector's training beside torchvision's RetinaNet: the same backbone, pyramid and pictures, the same image views.

    python benchmarks/detectors.py --backbone inception_v2 --pictures 125 --image-size 128 --epochs 8

Drawn pictures of discs and squares with exact boxes (no detection set of photographs ships with a package), as JPEG
files. torchvision is its RetinaNet, its transforms, torch's DataLoader and SGD with its reference's warm-up and steps,
in float32, at several learning rates; Lehr is the template of that backbone at one. Both start from random weights.
Told are images per second, everything but imports counted, and mean average precision on the fifth held out: for each
seed, which draws other pictures too, and the means over seeds.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import described
from PIL import Image

from lehr.settings import share_cores

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "stories"))
from drawn_shapes import CONCEPTS, drawn

TEMPLATES = {"inception_v2": "Clarifai_InceptionV2", "inception_v4": "Clarifai_InceptionV4"}
OURS = "Lehr"


def main() -> None:
    """Prints a line per contestant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=TEMPLATES, default="inception_v2")
    parser.add_argument("--pictures", type=int, default=125)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1, help="of torch's DataLoader")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.005, 0.01], help="learning rates of torchvision")
    options = parser.parse_args()
    share_cores()
    import timm  # noqa: F401 - importing is not part of the race
    import torch._dynamo  # noqa: F401 - optimisers import it
    import torchvision.models.detection  # noqa: F401

    print(f"detectors, {options.backbone}, {options.epochs} epochs at {options.image_size}; {described()}")
    reached: dict[str, list[float]] = {}
    for seed in options.seeds:
        print(f"seed {seed}")
        items = [_as_jpeg(item) for item in drawn(options.pictures, seed)]
        held, map_50 = ours(items, seed, options)
        reached.setdefault(OURS, []).append(map_50)
        for rate in options.rates:
            map_50 = torchvisions(items, held, rate, seed, options)
            reached.setdefault(_named(rate), []).append(map_50)
    if len(options.seeds) > 1:
        for name, each in reached.items():
            print(f"{name:24} mAP at 0.5 {np.mean(each):.3f} in the mean of {len(each)} seeds")


def ours(items: Sequence[Any], seed: int, options: argparse.Namespace) -> tuple[set[str], float]:
    """Trains the template; which items were held out, and the mean average precision on them."""
    from lehr import templates
    from lehr.hyperparameters import parse
    from lehr.learn.data.dataset import build_data
    from lehr.learn.data.packs import Packs
    from lehr.learn.device import choose_device
    from lehr.learn.events import EpochEnded
    from lehr.learn.loop import train

    template = templates.find("visual-detector", TEMPLATES[options.backbone])
    sizes = {"num_epochs": options.epochs, "image_size": options.image_size, "batch_size": options.batch_size}
    fixed = {
        "per_item_lrate": 0.00125,
        "pretrained_weights": "none",
        "test_freq": 0,
        "flip_probability": 0.5,
        "seed": seed,
    }
    form = parse(template.form, {**sizes, **fixed}).form
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as packs:
        data = build_data(template.data_order(form, CONCEPTS), items, packs=Packs(Path(packs)))
        ends = [event for event in train(template.recipe(form, data.problem(choose_device())), data)]
    last = [event for event in ends if isinstance(event, EpochEnded)][-1]
    assert last.metrics
    map_50 = float(last.metrics["map_50"])
    _tell(OURS, data.num_train * options.epochs / (time.perf_counter() - began), map_50)
    return set(data.held_out_ids), map_50


def torchvisions(items: Sequence[Any], held: set[str], rate: float, seed: int, options: argparse.Namespace) -> float:
    """Trains torchvision's RetinaNet on the others, and tells how it did."""
    import torch
    from torch.utils.data import DataLoader

    torch.manual_seed(seed)
    began = time.perf_counter()
    net = _retinanet(options)
    examples = [_example(item) for item in items if item.id not in held]
    loader = DataLoader(
        _Pictures(examples), options.batch_size, shuffle=True, num_workers=options.workers, collate_fn=_uncollated
    )
    optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
    steps = options.epochs * len(loader)
    warm = torch.optim.lr_scheduler.LinearLR(optimiser, 1e-3, total_iters=max(1, steps // 10))
    drops = torch.optim.lr_scheduler.MultiStepLR(optimiser, [steps * 2 // 3, steps * 5 // 6])
    schedule = torch.optim.lr_scheduler.ChainedScheduler([warm, drops])
    net.train()
    for _ in range(options.epochs):
        for pictures, truth in loader:
            optimiser.zero_grad()
            sum(net(pictures, truth).values()).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimiser.step()
            schedule.step()
    rate_seen = len(examples) * options.epochs / (time.perf_counter() - began)
    map_50 = _judged(net, [_example(item) for item in items if item.id in held])
    _tell(_named(rate), rate_seen, map_50)
    return map_50


def _named(rate: float) -> str:
    return f"torchvision, lr {rate:g}"


def _retinanet(options: argparse.Namespace) -> Any:
    """torchvision's, with group norms in its heads, on the pyramid that Lehr uses, anchors as Lehr's."""
    from functools import partial

    import torch
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.retinanet import RetinaNetHead

    from lehr.learn.detection.detector import detector

    scale = min(1.0, options.image_size / 320)
    own = detector(backbone=options.backbone, num_concepts=len(CONCEPTS), anchor_scale=scale)

    class Pyramid(torch.nn.Module):
        out_channels = 256

        def __init__(self) -> None:
            super().__init__()
            self.base, self.pyramid = own.base, own.pyramid

        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return self.pyramid(dict(zip(("p3", "p4", "p5"), self.base.maps(images), strict=True)))

    sizes = tuple(tuple(size * scale * 2 ** (step / 3) for step in range(3)) for size in (32, 64, 128, 256, 512))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    norm = partial(torch.nn.GroupNorm, 32)
    head = RetinaNetHead(256, anchors.num_anchors_per_location()[0], len(CONCEPTS), norm_layer=norm)
    return RetinaNet(
        Pyramid(),
        len(CONCEPTS),
        min_size=options.image_size,
        max_size=2 * options.image_size,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        anchor_generator=anchors,
        head=head,
    )


class _Pictures:
    """What torch's DataLoader reads: decoded anew every time, mirrored at random."""

    def __init__(self, examples: Sequence[tuple[bytes, np.ndarray, np.ndarray]]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        import torch

        picture, truth = _decoded(self.examples[index])
        if torch.rand(()) < 0.5:
            width = picture.shape[2]
            boxes = truth["boxes"].clone()
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
            picture, truth = picture.flip(2), {**truth, "boxes": boxes}
        return picture, truth


def _decoded(example: tuple[bytes, np.ndarray, np.ndarray]) -> tuple[Any, dict[str, Any]]:
    import torch

    data, boxes, classes = example
    pixels = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    picture = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    return picture, {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(classes)}


def _uncollated(batch: Sequence[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    return [picture for picture, _ in batch], [truth for _, truth in batch]


def _judged(net: Any, examples: Sequence[tuple[bytes, np.ndarray, np.ndarray]]) -> float:
    """Mean average precision at IoU 0.5, counted as Lehr counts its own."""
    import torch

    from lehr.learn.metrics.mean_average_precision import ImageBoxes, detection_evaluation

    net.eval()
    found, truth = [], []
    with torch.inference_mode():
        for example in examples:
            (one,) = net([_decoded(example)[0]])
            arrays = {name: one[name].numpy() for name in ("boxes", "labels", "scores")}
            found.append(ImageBoxes(boxes=arrays["boxes"], classes=arrays["labels"], scores=arrays["scores"]))
            truth.append(ImageBoxes(boxes=example[1], classes=example[2]))
    return detection_evaluation(found, truth, len(CONCEPTS)).map_50 or 0.0


def _example(item: Any) -> tuple[bytes, np.ndarray, np.ndarray]:
    """JPEG bytes, boxes x1 y1 x2 y2 in pixels, class numbers."""
    data = item.read()
    width, height = Image.open(io.BytesIO(data)).size
    boxes = [[box.left * width, box.top * height, box.right * width, box.bottom * height] for box in item.boxes]
    return data, np.array(boxes, np.float32), np.array([CONCEPTS.index(box.concept) for box in item.boxes])


def _as_jpeg(item: Any) -> Any:
    file = io.BytesIO()
    Image.open(io.BytesIO(item.read())).save(file, "JPEG", quality=92)
    data = file.getvalue()
    return replace(item, read=lambda: data)


def _tell(name: str, rate: float, map_50: float) -> None:
    print(f"  {name:22} {rate:6.2f} images/s   mAP at 0.5 {map_50:.3f}", flush=True)


if __name__ == "__main__":
    main()
