"""Accuracy after the same number of image views: Lehr's fine-tuning beside timm's, on real photographs.

    python benchmarks/quality.py --photos photos --epochs 8

Class folders of photographs (photos.py makes some), cut into folds by the hash of their content; the same network
(EfficientNet-Lite0) from the same ImageNet weights. timm is its own loader with its usual augmentation, its optimiser
and cosine schedule, at the best of several learning rates; Lehr is Lehr_Lite at one setting. Goal: not worse.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import described

from lehr.settings import share_cores

FOLDS = 5


def main() -> None:
    """Prints mean accuracy over the folds for every contestant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--folds", type=int, default=FOLDS, help="how many of the five to run")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.003, 0.01, 0.03], help="learning rates of timm")
    options = parser.parse_args()
    share_cores()
    print(f"quality, {options.epochs} epochs at {options.image_size} pixels; {described()}")
    _tell("Lehr_Lite", [ours(options, fold) for fold in range(options.folds)])
    for rate in options.rates:
        _tell(f"timm, lr {rate:g}", [timms(options, fold, rate) for fold in range(options.folds)])


def _tell(name: str, found: list[tuple[float, float]]) -> None:
    accuracies, seconds = zip(*found, strict=True)
    each = ", ".join(f"{accuracy:.3f}" for accuracy in accuracies)
    print(f"  {name:16} accuracy {np.mean(accuracies):.3f} ({each})   {np.mean(seconds):.0f} s a fold", flush=True)


def ours(options: argparse.Namespace, fold: int) -> tuple[float, float]:
    """Accuracy on the fold, and seconds."""
    from lehr import templates
    from lehr.hyperparameters import parse
    from lehr.learn.data.dataset import build_data
    from lehr.learn.data.packs import Packs
    from lehr.learn.device import choose_device
    from lehr.learn.events import EpochEnded
    from lehr.learn.folder import read_folder
    from lehr.learn.loop import train

    began = time.perf_counter()
    template = templates.find("visual-classifier", "Lehr_Lite")
    params = {"num_epochs": options.epochs, "batch_size": options.batch_size, "image_size": options.image_size}
    form = parse(template.form, {**params, "base_gradient_multiplier": 1, "logreg": 0, "test_freq": 0}).form
    items = [replace(item, split="test" if _is_of(item, fold) else "train") for item in read_folder(options.photos)]
    concepts = sorted({concept for item in items for concept in item.positives})
    with tempfile.TemporaryDirectory() as packs:
        data = build_data(template.data_order(form, concepts), items, packs=Packs(Path(packs)))
        events = train(template.recipe(form, data.problem(choose_device())), data)
        last = [event for event in events if isinstance(event, EpochEnded)][-1]
    assert last.metrics
    return last.metrics["accuracy"], time.perf_counter() - began


def timms(options: argparse.Namespace, fold: int, rate: float) -> tuple[float, float]:
    """The same for timm."""
    import timm
    import torch
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2

    from lehr.learn.weights import built_in_tensors

    torch.manual_seed(0)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        num_concepts = _laid_out(options.photos, Path(folder), fold)
        net = timm.create_model("tf_efficientnet_lite0", num_classes=num_concepts)
        tensors = {key: value for key, value in built_in_tensors().items() if "classifier" not in key}
        assert not net.load_state_dict(tensors, strict=False).unexpected_keys
        optimiser = create_optimizer_v2(net, opt="sgd", lr=rate, weight_decay=1e-4, momentum=0.9)
        scheduler, _ = create_scheduler_v2(optimiser, "cosine", num_epochs=options.epochs)
        loaders = [_loader(Path(folder) / part, options, is_training=part == "train") for part in ("train", "test")]
        for epoch in range(options.epochs):
            net.train()
            for pictures, labels in loaders[0]:
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(net(pictures), labels).backward()
                optimiser.step()
            scheduler.step(epoch + 1)
        net.eval()
        with torch.inference_mode():
            right = [(net(pictures).argmax(1) == labels) for pictures, labels in loaders[1]]
    return torch.cat(right).float().mean().item(), time.perf_counter() - began


def _loader(folder: Path, options: argparse.Namespace, *, is_training: bool) -> Any:
    import torch
    from timm.data import create_dataset, create_loader

    from lehr.learn.preprocessing import crop_side

    side = crop_side(options.image_size)
    return create_loader(
        create_dataset("", root=str(folder)),
        input_size=(3, side, side),
        batch_size=options.batch_size,
        is_training=is_training,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        crop_pct=0.875,
        interpolation="bicubic" if not is_training else "random",
        device=torch.device("cpu"),
        pin_memory=False,
    )


def _laid_out(photos: Path, folder: Path, fold: int) -> int:
    """Links the photographs into train and test folders; the number of classes."""
    from lehr.learn.folder import read_folder

    items = read_folder(photos)
    for item in items:
        target = folder / ("test" if _is_of(item, fold) else "train") / item.id
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((photos / item.id).absolute())
    return len({concept for item in items for concept in item.positives})


def _is_of(item: Any, fold: int) -> bool:
    return int(item.sha256, 16) % FOLDS == fold


if __name__ == "__main__":
    main()
