"""Images per second from JPEG files to trained weights: Lehr, timm as it comes, timm at its best options.

    python benchmarks/training.py --networks lite resnext50 --sizes 500px 12MP --images 192

Same network with random weights, same pictures in class folders, same batch, crop and machine, three epochs, softmax,
no evaluation. Everything but imports counts: building the network, starting loader processes, decoding, packing,
training. timm is its own loader and step (create_loader, create_model, create_optimizer_v2): once with the defaults of
create_loader (one worker, its usual augmentation, float32), once with channels-last, crop and mirror alone, and
whichever is fastest of bfloat16 and float32 and of a few numbers of workers, tried beforehand. Each contestant runs in
a process of its own, one after the other; all three twice, and the faster run counts: a machine is faster in one
minute than in the next.
Goals on a CPU: twice the defaults, never slower than the best options, 1.5 times them where decoding weighs.

What Lehr waits for pictures is on a CPU the time that making its batches takes, and on a GPU, where they are made
beside the steps, what an epoch takes longer than one whose steps all have the same batch; goal: under 5 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import described
from PIL import Image

from lehr.settings import share_cores

EPOCHS = 3
CONCEPTS = 4
SIZES = {"500px": (500, 375), "12MP": (4000, 3000)}
OURS, DEFAULTS, BEST = "Lehr", "timm, defaults", "timm, best options"


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network under both names."""

    template: str
    timm: str = ""
    """"": timm has none; its loader and step train Lehr's."""
    image_size: int = 256
    params: Mapping[str, Any] = field(default_factory=dict)


NETWORKS = {
    "lite": Network(template="Lehr_Lite", timm="tf_efficientnet_lite0", params={"base_gradient_multiplier": 1}),
    "resnext50": Network(template="Clarifai_ResNext", timm="resnext50_32x4d", params={"pretrained_weights": "none"}),
    "inception_resnet_v2": Network(
        template="Clarifai_InceptionResnetV2",
        timm="inception_resnet_v2",
        image_size=336,
        params={"pretrained_weights": "none"},
    ),
    "small": Network(template="classification_cifar10_v1", image_size=32),
}


@dataclass(frozen=True, kw_only=True)
class Race:
    """What every contestant does."""

    folder: str
    network: str
    batch_size: int
    image_size: int

    @property
    def side(self) -> int:
        """Of the square crop that the network sees."""
        from lehr.learn.preprocessing import crop_side

        return (
            self.image_size
            if NETWORKS[self.network].template.startswith("classification")
            else crop_side(self.image_size)
        )


def main() -> None:
    """Prints one table per network and size of picture."""
    options = _options()
    if options.child:
        contestant, race, workers, is_bf16 = json.loads(options.child)
        print(json.dumps(run(contestant, Race(**race), workers, is_bf16=is_bf16)))
        return
    print(f"training, {EPOCHS} epochs, batch {options.batch_size}, {options.images} images; {described()}")
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="lehr-bench-") as folder:
            render(Path(folder), SIZES[size], options.images)
            for name in options.networks:
                image_size = options.image_size or NETWORKS[name].image_size
                race = Race(folder=folder, network=name, batch_size=options.batch_size, image_size=image_size)
                _print(f"{name}, {size} JPEG, crops of {race.side}", race, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["lite"])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--images", type=int, default=512, help="a multiple of the batch (default 512)")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--image-size", type=int, help="shorter side (default: the network's own)")
    parser.add_argument("--workers", type=int, nargs="+", help="of timm's best (default: 1, half of the cores, all)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.child and options.images % options.batch_size:
        parser.error(f"--images {options.images} is no multiple of --batch-size {options.batch_size}")
    return options


def _print(title: str, race: Race, options: argparse.Namespace) -> None:
    cores = os.cpu_count() or 1
    workers = options.workers or sorted({1, max(1, cores // 2), cores})
    options_of_best = [(number, is_bf16) for number in workers for is_bf16 in (True, False)]
    tried = {each: _raced(BEST, race, each[0], is_bf16=each[1])["seconds"] for each in options_of_best}
    number, is_bf16 = min(tried, key=lambda each: tried[each])
    found: dict[str, dict[str, Any]] = {}
    for name, *asked in 2 * [(OURS, 0, False), (DEFAULTS, 1, False), (BEST, number, is_bf16)]:
        one = _raced(name, race, asked[0], is_bf16=asked[1])
        if name not in found or one["seconds"] < found[name]["seconds"]:
            found[name] = one
    found[BEST]["note"] = f"{number} workers, {'bf16' if is_bf16 else 'fp32'}"
    print(f"\n{title}; load average {os.getloadavg()[0]:.1f}")
    for name, one in found.items():
        rate = EPOCHS * options.images / one["seconds"]
        epochs = ", ".join(f"{seconds:.1f}" for seconds in one["epochs"])
        note = f"  {one['note']}" if one.get("note") else ""
        ratio = f"  Lehr {one['seconds'] / found[OURS]['seconds']:.2f} x" if name != OURS else ""
        print(f"  {name:20} {rate:7.1f} images/s{ratio}   epochs {epochs} s{note}")
    print(f"  Lehr waits for pictures {100 * found[OURS]['stall']:.1f} % of its steps' time", flush=True)


def _raced(contestant: str, race: Race, workers: int, *, is_bf16: bool = False) -> dict[str, Any]:
    asked = json.dumps([contestant, vars(race), workers, is_bf16])
    child = subprocess.run([sys.executable, __file__, "--child", asked], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(child.stdout.splitlines()[-1])


def run(contestant: str, race: Race, workers: int, *, is_bf16: bool) -> dict[str, Any]:
    """Trains once. Seconds of all and of each epoch; Lehr's share of time spent on getting pictures."""
    share_cores()
    import timm.data
    import timm.optim  # noqa: F401 - importing is not part of the race
    import torch._dynamo  # noqa: F401 - optimisers import it

    if contestant == OURS:
        return ours(race)
    return timms(race, workers, is_best=contestant == BEST, is_bf16=is_bf16)


def ours(race: Race) -> dict[str, Any]:
    """Packs and trains as `lehr train` does, from random weights."""
    from lehr import templates
    from lehr.hyperparameters import parse
    from lehr.learn.data.crops import Augmentation
    from lehr.learn.data.dataset import build_data
    from lehr.learn.data.packs import Packs
    from lehr.learn.device import choose_device
    from lehr.learn.events import EpochEnded
    from lehr.learn.folder import read_folder
    from lehr.learn.learners.pixels import PixelLearner, at_priors, pixel_learning
    from lehr.learn.loop import train

    waited = []

    class Timed(PixelLearner):
        """Remembers how long it takes to get the pictures of a step."""

        def draw(self, *asked: Any) -> Any:
            began = time.perf_counter()
            found = super().draw(*asked)
            waited.append(time.perf_counter() - began)
            return found

    class Fixed(PixelLearner):
        """Learns from the same batch at each step."""

        def draw(self, *asked: Any) -> Any:
            self.batch = getattr(self, "batch", None) or super().draw(*asked)
            return self.batch

    network = NETWORKS[race.network]
    template = templates.find("visual-classifier", network.template)
    sizes = {"image_size": race.image_size, "batch_size": race.batch_size, "num_epochs": EPOCHS}
    form = parse(template.form, {**network.params, **sizes, "logreg": 0, "test_freq": 0, "flip_probability": 0.5}).form
    device = choose_device()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as packs:
        items = [replace(item, split="train") for item in read_folder(Path(race.folder))]
        concepts = sorted({concept for item in items for concept in item.positives})
        data = build_data(template.data_order(form, concepts), items, packs=Packs(Path(packs)))
        packed = time.perf_counter()

        def ends(learner_type: type[PixelLearner]) -> list[float]:
            """When each epoch was over."""
            augmentation = Augmentation(side=race.side, flip_probability=0.5)
            begin = pixel_learning(augmentation, at_priors, norms="live", learner_type=learner_type)
            recipe = replace(template.recipe(form, data.problem(device)), begin=begin)
            return [time.perf_counter() for event in train(recipe, data) if isinstance(event, EpochEnded)]

        marks = ends(Timed)
        steps = -(-len(items) // race.batch_size)
        stall = sum(waited[-EPOCHS * steps :]) / (marks[-1] - packed)  # the first few came from the look at the memory
        if device.is_cuda:  # where batches are made beside the steps, their time is not what is waited for
            stall = max(0.0, 1 - min(np.diff(ends(Fixed))) / min(np.diff(marks)))
    return {
        "seconds": marks[-1] - began,
        "epochs": list(np.diff([packed, *marks])),
        "stall": stall,
        "note": f"packed in {packed - began:.1f} s",
    }


def timms(race: Race, workers: int, *, is_best: bool, is_bf16: bool) -> dict[str, Any]:
    """timm's own loader and step."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = is_best
    began = time.perf_counter()
    layout = torch.channels_last if is_best else torch.contiguous_format
    net = _timm_net(race).to(device, memory_format=layout).train()
    loader = _timm_loader(race, workers, device, is_best=is_best)
    step = _timm_step(net, device, is_bf16=is_bf16)
    marks = [time.perf_counter()]
    for _ in range(EPOCHS):
        for pictures, labels in loader:
            step(pictures.contiguous(memory_format=layout), labels)
        if device.type == "cuda":
            torch.cuda.synchronize()
        marks.append(time.perf_counter())
    return {"seconds": marks[-1] - began, "epochs": list(np.diff(marks))}


def _timm_net(race: Race) -> Any:
    import timm

    network = NETWORKS[race.network]
    if network.timm:
        return timm.create_model(network.timm, pretrained=False, num_classes=CONCEPTS)
    from lehr.learn.nets.catalogue import build

    return build("airbench", {"num_concepts": CONCEPTS})


def _timm_loader(race: Race, workers: int, device: Any, *, is_best: bool) -> Any:
    from timm.data import create_dataset, create_loader

    best = {"color_jitter": 0.0, "pin_memory": device.type == "cuda"} if is_best else {}
    return create_loader(
        create_dataset("", root=race.folder),
        input_size=(3, race.side, race.side),
        batch_size=race.batch_size,
        is_training=True,
        num_workers=workers,
        device=device,
        **best,
    )


def _timm_step(net: Any, device: Any, *, is_bf16: bool) -> Any:
    import torch
    from timm.optim import create_optimizer_v2

    optimiser = create_optimizer_v2(net, opt="sgd", lr=0.01, weight_decay=1e-4, momentum=0.9)
    criterion = torch.nn.CrossEntropyLoss()

    def step(pictures: Any, labels: Any) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_bf16):
            loss = criterion(net(pictures).float(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def render(folder: Path, size: tuple[int, int], count: int) -> None:
    """Class folders of JPEG files with the detail of photographs, quality 90."""
    for concept in range(CONCEPTS):
        (folder / f"concept-{concept}").mkdir()
    with ProcessPoolExecutor() as pool:
        list(pool.map(_rendered, *zip(*_files(folder, size, count), strict=True)))


def _files(folder: Path, size: tuple[int, int], count: int) -> Iterator[tuple[Path, tuple[int, int], int]]:
    for number in range(count):
        yield folder / f"concept-{number % CONCEPTS}" / f"{number:05d}.jpg", size, number


def _rendered(path: Path, size: tuple[int, int], seed: int) -> None:
    """Noise of four scales: each finer one is fainter, as in photographs."""
    generator = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3), np.float32)
    for cells, strength in ((8, 90), (32, 45), (128, 20), (min(size) // 2, 10)):
        noise = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        total += (np.asarray(layer, np.float32) - 127.5) * (strength / 127.5)
    Image.fromarray(np.clip(total + 127.5, 0, 255).astype(np.uint8)).save(path, "JPEG", quality=90)


if __name__ == "__main__":
    main()
