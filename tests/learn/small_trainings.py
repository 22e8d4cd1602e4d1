"""Trainings on some of the digits, for tests; run as a script it is the process that gets killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lehr.hyperparameters import parse
from lehr.learn.data.dataset import Data, build_data
from lehr.learn.data.packs import Packs
from lehr.learn.folder import read_folder
from lehr.learn.recipe import Recipe
from lehr.templates import find

SMALL = {"width_multiplier": 0.125, "num_epochs": 2, "batch_size": 32, "average_horizontal_flips": True}
CHECKPOINT = "checkpoint"


def data_of(folder: Path, packs: Path, every: int = 9, **order: object) -> Data:
    """Every `every`th digit; order: fields of DataOrder to change."""
    template = find("visual-classifier", "classification_cifar10_v1")
    form = parse(template.form, order.pop("params", {})).form
    items = read_folder(folder)[::every]
    concepts = sorted({concept for item in items for concept in item.positives})
    return build_data(template.data_order(form, concepts), items, packs=Packs(packs))


def recipe_of(
    data: Data, template_name: str = "classification_cifar10_v1", threads: int = 2, **params: object
) -> Recipe:
    from lehr.learn.device import choose_device

    template = find("visual-classifier", template_name)
    form = parse(template.form, {**(SMALL if "cifar" in template_name else {}), **params}).form
    return template.recipe(form, data.problem(choose_device("cpu", threads)))


def main(folder: str, packs: str, out: str, last_step: str) -> None:
    """Trains, or goes on training, keeping a checkpoint after every step, up to `last_step` (0: to the end)."""
    from lehr.learn.checkpoint import load, save
    from lehr.learn.events import EpochEnded, Stepped
    from lehr.learn.loop import train

    data = data_of(Path(folder), Path(packs))
    place = Path(out) / CHECKPOINT
    resume = load(place.read_bytes()) if place.exists() else None
    print(json.dumps({"resumed_at": resume.facts["step"] if resume else 0}), flush=True)
    for event in train(recipe_of(data), data, resume):
        if isinstance(event, Stepped | EpochEnded):
            partial = place.with_suffix(".partial")
            partial.write_bytes(save(event.state()))
            partial.replace(place)
        if isinstance(event, Stepped):
            print(json.dumps({"step": event.step}), flush=True)
            if event.step == int(last_step):
                sys.stdin.read()  # waits to be killed


if __name__ == "__main__":
    main(*sys.argv[1:])
