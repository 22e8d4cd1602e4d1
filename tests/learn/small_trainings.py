"""Small trainings, for tests; run as a script it is the process that gets killed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from lehr.hyperparameters import parse
from lehr.learn.data.dataset import Data, build_data
from lehr.learn.data.packs import Packs
from lehr.learn.folder import read_folder
from lehr.learn.items import Item
from lehr.learn.recipe import Recipe
from lehr.templates import Template, find

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


def classifier(folder: Path, packs: Path) -> tuple[Recipe, Data]:
    """Some digits, from pixels."""
    data = data_of(folder, packs)
    return recipe_of(data), data


def embedder(folder: Path, packs: Path) -> tuple[Recipe, Data]:
    """A few digits told apart by angles, from pixels and random weights."""
    params = {
        "model_cfg": "inception_batchnorm",
        "pretrained_weights": "none",
        "image_size": 32,
        "batch_size": 8,
        "num_epochs": 2,
        "num_items_per_epoch": 32,
        "embeddings_size": 16,
    }
    template = find("visual-embedder", "classification_angular_margin_embed")
    items = read_folder(folder)[::20]
    concepts = sorted({concept for item in items for concept in item.positives})
    return _planned(template, params, concepts, items, packs)


def detector(folder: Path, packs: Path) -> tuple[Recipe, Data]:
    """Drawn shapes, mirrored at random, on the base that comes with Lehr, all of it trained."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "stories"))
    from drawn_shapes import CONCEPTS, drawn

    params = {"image_size": 64, "num_epochs": 2, "batch_size": 4, "flip_probability": 0.5}
    return _planned(find("visual-detector", "Lehr_Lite"), params, list(CONCEPTS), drawn(20), packs)


def _planned(
    template: Template, params: dict[str, object], concepts: list[str], items: list[Item], packs: Path
) -> tuple[Recipe, Data]:
    from lehr.learn.device import choose_device

    form = parse(template.form, params).form
    data = build_data(template.data_order(form, concepts), items, packs=Packs(packs))
    return template.recipe(form, data.problem(choose_device("cpu", 2))), data


KINDS: dict[str, Callable[[Path, Path], tuple[Recipe, Data]]] = {
    "classifier": classifier,
    "detector": detector,
    "embedder": embedder,
}


def main(kind: str, folder: str, packs: str, out: str, last_step: str) -> None:
    """Trains, or goes on training, keeping a checkpoint after every step, up to `last_step` (0: to the end)."""
    from lehr.learn.checkpoint import load, save
    from lehr.learn.events import EpochEnded, Stepped
    from lehr.learn.loop import train

    recipe, data = KINDS[kind](Path(folder), Path(packs))
    place = Path(out) / CHECKPOINT
    resume = load(place.read_bytes()) if place.exists() else None
    print(json.dumps({"resumed_at": resume.facts["step"] if resume else 0}), flush=True)
    for event in train(recipe, data, resume):
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
