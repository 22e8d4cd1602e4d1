"""Peak memory of a training step with gradient checkpointing and without, of the two deepest kinds of network.

    python benchmarks/memory.py

A detector on Inception-v4 (320-pixel pictures, batch 4) and a classifier on ResNeXt-50 (224-pixel crops, batch 16), as
`lehr train` trains them, from random weights, two steps each. Every training runs in a process of its own. On a CPU the
figure is the most memory that the process ever had, less what it had before the network was built; on a GPU what torch
allocated there at the most. Weights, gradients and momentum are in it, as is what convolutions need for a moment.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from machine import described
from PIL import Image

from lehr.settings import share_cores

STEPS = 2
CONCEPTS = ("one", "another")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training whose memory is measured."""

    model_type: str
    template: str
    batch_size: int
    image_size: int
    params: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    "Clarifai_InceptionV4": Case(
        model_type="visual-detector", template="Clarifai_InceptionV4", batch_size=4, image_size=320
    ),
    "Clarifai_ResNext": Case(
        model_type="visual-classifier",
        template="Clarifai_ResNext",
        batch_size=16,
        image_size=256,
        params={"logreg": 0},
    ),
}


def main() -> None:
    """Prints one line per template."""
    options = _options()
    if options.child:
        name, switch, batch_size = json.loads(options.child)
        print(json.dumps(run(CASES[name], switch, batch_size)))
        return
    print(f"memory of a training step; {described()}")
    for name in options.cases:
        batch_size = options.batch_size or CASES[name].batch_size
        kept, saved = (_asked(name, switch, batch_size) for switch in ("off", "on"))
        assert kept["loss"] == saved["loss"], f"checkpointing changed the loss: {kept['loss']} and {saved['loss']}"
        less = 100 * (1 - saved["mib"] / kept["mib"])
        print(
            f"  {name:22} batch {batch_size:3}, {saved['device']}: {kept['mib']:.0f} MiB, with checkpointing "
            f"{saved['mib']:.0f} MiB ({less:.0f} % less); a step {kept['seconds']:.1f} s, {saved['seconds']:.1f} s",
            flush=True,
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--batch-size", type=int, help="(default: each its own)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def _asked(*order: object) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", json.dumps(order)]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(child.stdout.splitlines()[-1])


def run(case: Case, switch: str, batch_size: int) -> dict[str, Any]:
    """Two epochs of one step each: MiB at the most, seconds of the faster step, and the loss after the last."""
    share_cores()
    import torch._dynamo  # optimisers import it

    from lehr.learn.device import choose_device
    from lehr.learn.events import EpochEnded, Stepped
    from lehr.learn.loop import train

    device = choose_device()
    with tempfile.TemporaryDirectory(prefix="lehr-bench-") as packs:
        recipe, data = _planned(case, switch, batch_size, device, Path(packs))
        before, seconds, began = _resident_bytes(), [], time.perf_counter()
        for event in train(recipe, data):
            now = time.perf_counter()
            if isinstance(event, Stepped):
                seconds.append(now - began)
            elif isinstance(event, EpochEnded):
                loss = event.train_loss
            began = time.perf_counter()
    if device.is_cuda:
        peak = torch.cuda.max_memory_allocated(device.name)
    else:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    shown = f"{device.name}, {'bf16' if device.is_bf16 else 'f32'}"
    return {"mib": peak / 2**20, "seconds": min(seconds), "loss": loss, "device": shown}


def _planned(case: Case, switch: str, batch_size: int, device: Any, packs: Path) -> tuple[Any, Any]:
    """(recipe, data) of a training with a single batch of items."""
    from lehr import templates
    from lehr.hyperparameters import parse
    from lehr.learn.data.dataset import build_data
    from lehr.learn.data.packs import Packs

    given = {
        "pretrained_weights": "none",
        "gradient_checkpointing": switch,
        "image_size": case.image_size,
        "batch_size": batch_size,
        "num_epochs": STEPS,
        "test_freq": 0,
    }
    template = templates.find(case.model_type, case.template)
    form = parse(template.form, {**given, **case.params}).form
    items = [_drawn(number, case.image_size) for number in range(batch_size)]
    data = build_data(template.data_order(form, CONCEPTS), items, packs=Packs(packs))
    return template.recipe(form, data.problem(device)), data


def _drawn(number: int, side: int) -> Any:
    """A training item: noise, and a box in the middle of it."""
    from lehr.learn.items import Box, Item

    file, concept = io.BytesIO(), CONCEPTS[number % len(CONCEPTS)]
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "BMP")
    return Item(
        id=str(number),
        sha256=hashlib.sha256(file.getvalue()).hexdigest(),
        read=file.getvalue,
        positives=frozenset({concept}),
        split="train",
        boxes=(Box(concept=concept, top=0.3, left=0.3, bottom=0.7, right=0.7),),
    )


def _resident_bytes() -> int:
    """Memory of this process now."""
    statm = Path("/proc/self/statm")
    if not statm.exists():  # the most until now says nearly the same: little was freed
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(statm.read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
