"""An embedder's evaluation: where it puts the images, in two dimensions, and which it takes for like.

The vectors are the model's own, asked for when the page is opened; nothing is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
from nicegui import ui

from lehr.protocol import resources_pb2, status_code_pb2
from lehr.web import charts, pieces, words
from lehr.web.client import Refused
from lehr.web.components.chart import Chart
from lehr.web.evaluation import Opened
from lehr.web.thumbnails import address_of

MOST_ITEMS = 400
_AT_ONCE = 32
_NEIGHBOURS = 8
_PATIENCE_SECONDS = 120
_MOST_CONCEPTS = 30


async def show(opened: Opened) -> None:
    """Counts up while the images are embedded, then draws."""
    place = pieces.element("div", "lehr-stack")
    with place, pieces.card("Embedding the images"):
        said = pieces.text("Finding the images …", classes="lehr-quiet").props("role=status")

    async def fill() -> None:
        items = await _items(opened)
        ids, vectors = await _embedded(opened, items, lambda done: said.set_text(f"{done} of {len(items)} images"))
        place.clear()
        with place:
            _drawn(opened, {each.id: each for each in items}, ids, vectors)

    ui.timer(0.05, fill, once=True)


async def _items(opened: Opened) -> list[resources_pb2.Input]:
    """Labelled images of the data that was evaluated."""
    dataset = opened.metrics.ground_truth_dataset.id
    visit, found = opened.visit, []
    for page in range(1, 1 + -(-MOST_ITEMS // 100)):
        if dataset:
            answer = await visit.ask("ListDatasetInputs", dataset_id=dataset, page=page, per_page=100)
            some = [each.input for each in answer.dataset_inputs]
        else:
            some = list((await visit.ask("ListInputs", page=page, per_page=100)).inputs)
        found += [each for each in some if each.data.HasField("image")]
        if len(some) < 100:
            break
    return found[:MOST_ITEMS]


async def _embedded(
    opened: Opened, items: Sequence[resources_pb2.Input], tell: Callable[[int], object]
) -> tuple[list[str], np.ndarray]:
    """Ids, and float32 [N, D] of length 1; images that cannot be embedded are left out."""
    ids: list[str] = []
    vectors: list[np.ndarray] = []
    for start in range(0, len(items), _AT_ONCE):
        outputs = await _outputs(opened, [each.id for each in items[start : start + _AT_ONCE]])
        for item, output in zip(items[start : start + _AT_ONCE], outputs, strict=True):
            if output.data.embeddings:
                ids.append(item.id)
                vectors.append(np.array(output.data.embeddings[0].vector, np.float32))
        tell(min(start + _AT_ONCE, len(items)))
    found = np.stack(vectors) if vectors else np.zeros((0, 1), np.float32)
    return ids, found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


async def _outputs(opened: Opened, ids: Sequence[str]) -> Sequence[resources_pb2.Output]:
    """Waits for a model that is being loaded."""
    model = opened.metrics.model
    for _ in range(_PATIENCE_SECONDS):
        try:
            answer = await opened.visit.ask(
                "PostModelOutputs",
                model_id=model.id,
                version_id=model.model_version.id,
                inputs=[resources_pb2.Input(id=each) for each in ids],
            )
        except Refused as error:
            if error.code != status_code_pb2.MODEL_LOADING:
                raise
            await asyncio.sleep(1)
            continue
        outputs: Sequence[resources_pb2.Output] = answer.outputs
        return outputs
    raise Refused(status_code_pb2.MODEL_LOADING, "The model was not ready in time: open this page again.", 503)


def flat(vectors_ND: np.ndarray) -> np.ndarray:
    """float32 [N, 2]: the two directions in which the vectors differ most (principal components)."""
    centred_ND = vectors_ND - vectors_ND.mean(axis=0)
    _, _, directions_DD = np.linalg.svd(centred_ND, full_matrices=False)
    places = centred_ND @ directions_DD[:2].T
    return np.pad(places, ((0, 0), (0, 2 - places.shape[1])))


def nearest(vectors_ND: np.ndarray, index: int, count: int = _NEIGHBOURS) -> list[tuple[int, float]]:
    """The most alike by cosine, the nearest first, without itself."""
    cosines_N = vectors_ND @ vectors_ND[index]
    order = [int(each) for each in np.argsort(-cosines_N, kind="stable") if each != index]
    return [(each, float(cosines_N[each])) for each in order[:count]]


def _drawn(opened: Opened, items: dict[str, resources_pb2.Input], ids: list[str], vectors: np.ndarray) -> None:
    if len(ids) < 3:
        pieces.empty("scatter_plot", "Too few images", "A map needs three images or more that can be embedded.")
        return
    places = flat(vectors)
    labels = [_label(items[each]) for each in ids]
    names = sorted(set(labels), key=lambda name: (-labels.count(name), name))[:_MOST_CONCEPTS]
    groups = {name: [index for index, label in enumerate(labels) if label == name] for name in names}

    def choose(item_id: str) -> None:
        opened.visit.remember(item=item_id)
        shown.draw()

    with pieces.card(f"{words.counted(len(ids), 'image')} in two dimensions"):
        about = (
            "Images that the model takes for like lie together. The two directions are those in which they differ most."
        )
        pieces.text(about, classes="lehr-quiet")
        series = [
            charts.Series(name=name, points=[(float(places[n, 0]), float(places[n, 1])) for n in some])
            for name, some in groups.items()
        ]
        chart = Chart(
            charts.scatter_options(charts.Axes(x=""), series), described="Map of the embeddings, by concept", tall=460
        )
        chart.on_picked(lambda name, index: choose(ids[groups[name][index]]))
        options = {each: f"{label}: {each}" for each, label in zip(ids, labels, strict=True)}
        value = opened.visit.query("item")
        picker = pieces.choice(options, "Image", value if value in options else None, with_input=True)
        picker.classes("lehr-wide-field").on_value_change(lambda event: choose(str(event.value or "")))
    shown = pieces.Redrawn(lambda _: _neighbours(opened, items, ids, vectors))


def _label(item: resources_pb2.Input) -> str:
    names = sorted(each.name or each.id for each in item.data.concepts if each.value >= 0.5)
    return ", ".join(names) or "unlabelled"


def _neighbours(opened: Opened, items: dict[str, resources_pb2.Input], ids: list[str], vectors: np.ndarray) -> None:
    chosen = opened.visit.query("item")
    if chosen not in ids:
        pieces.text(
            "Choose a point, or an image by its name, to see what the model takes for like it.", classes="lehr-quiet"
        )
        return
    with pieces.card(f"Nearest to {chosen}"), pieces.element("div", "lehr-wall"):
        own = _label(items[chosen])
        _picture(opened, items[chosen], [own, "the image itself"], is_own=True)
        for index, cosine in nearest(vectors, ids.index(chosen)):
            item = items[ids[index]]
            _picture(opened, item, [_label(item), f"cosine {cosine:.3f}"], is_right=_label(item) == own)


def _picture(
    opened: Opened, item: resources_pb2.Input, caption: Sequence[str], *, is_own: bool = False, is_right: bool = True
) -> None:
    kind = "lehr-shown-own" if is_own else ("" if is_right else "lehr-shown-wrong")
    with pieces.link(opened.visit.under_app("inputs", item.id), classes=f"lehr-shown {kind}") as anchor:
        anchor.props["aria-label"] = f"Input {item.id}: {'; '.join(caption)}"
        if address_of(item):
            pieces.element("img", src=address_of(item), alt="", loading="lazy")
        for line in caption:
            pieces.text(line, tag="span", classes="lehr-small lehr-wrap")
