"""Training from a folder and predicting files, with no server: what `lehr train` and `lehr predict` call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lehr.errors import InvalidInput, LehrError
from lehr.learn.bundle import Bundle, write_bundle
from lehr.learn.data.dataset import Data, build_data
from lehr.learn.data.decode import decode, probe
from lehr.learn.data.order import DataOrder
from lehr.learn.data.packs import Packs
from lehr.learn.data.video import DEFAULT_SAMPLE_MS, looks_like_video, video_format
from lehr.learn.detection.found import boxes_in
from lehr.learn.events import EpochEnded, Stepped
from lehr.learn.folder import read_folder
from lehr.learn.items import Item
from lehr.learn.predictor import AnyPredictor, Predictor
from lehr.learn.problem import Problem
from lehr.learn.progress import Progress

if TYPE_CHECKING:
    from lehr.learn.recipe import Recipe


class RecipeBook(Protocol):
    """A template, as far as a training needs it."""

    @property
    def name(self) -> str:
        """The id that clients send."""
        ...

    def data_order(self, form: Any, concepts: Sequence[str], closed_environment: bool = False) -> DataOrder:
        """What a training with `form` wants from its data."""
        ...

    @property
    def recipe(self) -> Callable[[Any, Problem], Recipe]:
        """(form, problem) -> recipe."""
        ...


_SHOWN_SECONDS = 0.2
"""Between two bars."""


@dataclass(frozen=True, kw_only=True)
class FolderOrder:
    """Where to train from and to."""

    data: Path
    """Folder of pictures that are labelled somehow."""
    out: Path
    """Model folder to write; must not exist."""
    cache: Path
    """Folder of packs."""
    device: str = "auto"
    weights: Path | None = None
    """Folder of extra pretrained weights."""
    precision: str = "auto"
    """As the setting of that name."""
    machine: Path | None = None
    """Folder of what is known of this machine, and of who computes on its GPUs; None: beside the packs."""
    read: Callable[[Path], list[Item]] = read_folder
    """How the folder is labelled: by class folders, see folder.py, unless something else is said."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One picture's concepts, or those of a frame of a video, the most probable first."""

    path: Path
    concepts: tuple[tuple[str, float], ...]
    """(concept, probability); of a detector one per box."""
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    """Of a detector, beside the concepts: top, left, bottom, right as fractions of the picture's height and width."""
    time_ms: int | None = None
    """Of a frame: its moment in the video."""


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A picture that could not be predicted, and why."""

    path: Path
    why: str


def train_folder(
    template: RecipeBook,
    form: Any,  # the template's own
    order: FolderOrder,
    *,
    say: Callable[[str], None] = print,
    show: Callable[[str], None] = lambda line: None,
) -> Bundle:
    """Reads, packs, trains, evaluates and writes the model. `say` gets lines to keep, `show` one that is overwritten.

    Raises InvalidInput, TrainingStopped and its kin, with the sentence for the person.
    """
    if order.out.exists():
        raise InvalidInput(f"{order.out} exists already; name a folder that does not.")
    items = order.read(order.data)
    concepts = _concepts(template, form, order.data, items)
    say(f"{len(items)} pictures of {len(concepts)} concepts in {order.data}")
    data = build_data(
        template.data_order(form, concepts),
        items,
        packs=Packs(order.cache),
        on_progress=lambda done, total: show(f"reading pictures {done}/{total}"),
    )
    say(f"{data.num_train} to train on, {data.num_held_out} held out")
    return _trained(template, form, data, order, (say, show))


def _concepts(template: RecipeBook, form: Any, folder: Path, items: Sequence[Item]) -> list[str]:
    """What there is to learn: the concepts of whole pictures, or a detector's, those of boxes."""
    whole = {concept for item in items for concept in item.positives}
    boxed = {box.concept for item in items for box in item.boxes}
    needs_boxes = bool(whole | boxed) and template.data_order(form, sorted(whole | boxed)).needs_boxes
    found = boxed if needs_boxes else whole
    if found:
        return sorted(found)
    if needs_boxes:
        raise InvalidInput(
            f"{folder} holds {len(items)} pictures and no box, and boxes are what a detector learns from: give a "
            "folder in the form of COCO, YOLO, Pascal VOC or CSV, or train a visual-classifier."
        )
    told = " but boxes say what is in parts of them: train a visual-detector, or" if boxed else ":"
    raise InvalidInput(f"No picture of {len(items)} in {folder} has a label of the whole{told} label some.")


def predict_files(
    model: Path, files: Sequence[Path], device: str = "auto", *, sample_ms: int = DEFAULT_SAMPLE_MS
) -> Iterator[Prediction | Unreadable]:
    """Predicts picture files with a model folder, in order; of videos a frame every `sample_ms` milliseconds.

    Raises InvalidInput for a `sample_ms` below 1.
    """
    if sample_ms < 1:
        raise InvalidInput(f"The milliseconds between the frames of a video are 1 or more; given {sample_ms}.")
    predictor = Predictor.load(model, device)
    for path in files:
        try:
            yield from _of_file(predictor, path, sample_ms)
        except LehrError as error:
            yield Unreadable(path=path, why=error.details)
        except OSError as error:
            yield Unreadable(path=path, why=str(error))


def _of_file(predictor: AnyPredictor, path: Path, sample_ms: int) -> Iterator[Prediction]:
    """A moving GIF counts as a video, any other one as a picture."""
    data = path.read_bytes()
    is_film = looks_like_video(data) and (video_format(data) != "GIF" or probe(data).is_animated)
    if not is_film:
        yield _predicted(predictor, path, decode(data, shorter_side=predictor.image_size).pixels)
        return
    from lehr.learn.data.film import sampled

    for frame in sampled(data, sample_ms, shorter_side=predictor.image_size):
        yield replace(_predicted(predictor, path, frame.pixels), time_ms=frame.time_ms)


def _predicted(predictor: AnyPredictor, path: Path, pixels: np.ndarray) -> Prediction:
    if predictor.output == "detections":
        return _found(predictor, path, predictor.predict([pixels])[0])
    values = [float(value) for value in predictor.predict([pixels])[0]]
    ranked = sorted(zip(predictor.concepts, values, strict=True), key=lambda pair: -pair[1])
    return Prediction(path=path, concepts=tuple(ranked))


def _found(predictor: AnyPredictor, path: Path, rows: np.ndarray) -> Prediction:
    """The boxes above the threshold that the model was trained with, best first."""
    threshold = float(predictor.bundle.form["detection_score_threshold"])
    shown = [row for row in boxes_in(rows).tolist() if row[4] > threshold]
    return Prediction(
        path=path,
        concepts=tuple((predictor.concepts[int(label)], score) for *_, score, label in shown),
        boxes=tuple((top, left, bottom, right) for top, left, bottom, right, *_ in shown),
    )


def _trained(
    template: RecipeBook,
    form: Any,
    data: Data,
    order: FolderOrder,
    voices: tuple[Callable[[str], None], Callable[[str], None]],
) -> Bundle:
    from lehr.learn.device import choose_device
    from lehr.learn.gpu_turns import training_on
    from lehr.learn.out_of_memory import explained

    device, (_, show) = choose_device(order.device), voices
    recipe = template.recipe(form, data.problem(device, order.weights))
    turns, waiting = (order.machine or order.cache) / "gpus", "waiting until other steps have been measured on this GPU"
    with training_on(device, turns, lambda: show(waiting)), explained(recipe):
        return _computed(recipe, data, order, voices)


def _computed(
    recipe: Recipe, data: Data, order: FolderOrder, voices: tuple[Callable[[str], None], Callable[[str], None]]
) -> Bundle:
    from lehr.learn.evaluate import evaluate
    from lehr.learn.loop import train
    from lehr.learn.precision import Precision

    say, show = voices
    precision = Precision(choice=order.precision, folder=(order.machine or order.cache) / "precision")
    recipe = precision.decided(
        recipe, data, on_step=lambda done, total: show(f"measuring which precision is faster here {done}/{total}")
    )
    device = recipe.problem.device
    say(f"training {recipe.template} on {device.name} ({device.threads} threads, {device.precision})")
    progress, began, shown = Progress(), time.monotonic(), 0.0
    for event in train(recipe, data):
        line = progress.update(event)
        if line.text:
            say(line.text)
        elif isinstance(event, Stepped) and time.monotonic() - shown > _SHOWN_SECONDS:  # a loss makes a GPU wait
            show(bar(event, line.seconds_left))
            shown = time.monotonic()
        if isinstance(event, EpochEnded) and event.epoch == event.num_epochs:
            state = event.state()
    del event  # with it goes the trained copy of the network, and what it holds of a GPU's memory
    evaluation = evaluate(recipe, data, state) if data.num_held_out else None
    bundle = write_bundle(recipe, data, state, evaluation, order.out)
    say(f"{order.out} written after {time.monotonic() - began:.0f} s; {summary_text(bundle)}")
    return bundle


def bar(event: Stepped, seconds_left: int | None) -> str:
    """[######------] 53 %  epoch 6/10  loss 0.412  9 s left."""
    share = event.step / event.num_steps
    filled = round(24 * share)
    left = "" if seconds_left is None else f"  {duration(seconds_left)} left"
    drawn = "#" * filled + "-" * (24 - filled)
    return f"[{drawn}] {100 * share:3.0f} %  epoch {event.epoch}/{event.num_epochs}  loss {event.loss:.3f}{left}"


def duration(seconds: int) -> str:
    """9 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def summary_text(bundle: Bundle) -> str:
    """What the held-out items say, and how the model will be served."""
    shown = {"top1_accuracy": "accuracy", "map_50": "mean average precision at IoU 0.5"}
    told = [
        f"{words} {bundle.metrics[name]:.4f}" for name, words in shown.items() if bundle.metrics.get(name) is not None
    ]
    found = f"held-out {', '.join(told)}" if told else "no held-out items to judge it by"
    return f"{found}; served by {bundle.serving['form']} ({bundle.serving['precision']})"
