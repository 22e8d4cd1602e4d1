"""A classifier's evaluation: concepts in a table, the confusion matrix with its images, curves, the worst mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from lehr.protocol import resources_pb2
from lehr.web import charts, pieces, words
from lehr.web.evaluation import Opened, is_exclusive, picture, said_of, truth_of
from lehr.web.slider import Slider

_MOST_CONCEPTS = 40
"""In the matrix: the most frequent; beyond that nobody reads it."""
_PER_PAGE = 48
_LEAST_PROBABILITY = 1e-6


# -- the table ---------------------------------------------------------------------------------------------------------


def table(opened: Opened) -> None:
    """Every concept with its support, the weakest first."""
    found = [each for each in opened.metrics.binary_metrics]
    found.sort(key=lambda each: (each.f1, each.avg_precision))
    is_boxes = opened.kind == "detector"
    numbers = ("Boxes",) if is_boxes else ("Support", "ROC AUC")
    with pieces.card("Concepts, the weakest first"):
        headings = ("Concept", *numbers, "Average precision", "F1", "")
        with pieces.table("Concepts", *headings, numbers=(*numbers, "Average precision", "F1")):
            for each in found:
                _concept(opened, each, is_boxes=is_boxes)


def _concept(opened: Opened, each: resources_pb2.BinaryMetrics, *, is_boxes: bool) -> None:
    path = opened.visit.under_app("evaluations", opened.metrics.id)
    with pieces.element("tr"):
        with pieces.element("td"):
            query = urlencode({"part": "curves", "concept": each.concept.id})
            pieces.text_link(each.concept.name or each.concept.id, f"{path}?{query}")
        pieces.text(words.count(each.num_pos), tag="td", classes="lehr-number")
        if not is_boxes:
            pieces.text(f"{each.roc_auc:.3f}" if each.num_pos and each.num_neg else "", tag="td", classes="lehr-number")
        known = bool(each.num_pos)
        pieces.text(f"{each.avg_precision:.3f}" if known else "", tag="td", classes="lehr-number")
        pieces.text(f"{each.f1:.3f}" if known else "", tag="td", classes="lehr-number")
        with pieces.element("td", "lehr-share-cell"), pieces.element("div", "lehr-share"):
            pieces.element("div").style(f"width: {100 * each.f1 if known else 0:.0f}%")


# -- the confusion matrix ----------------------------------------------------------------------------------------------


async def confusion(opened: Opened) -> None:
    """Rows are what is true, columns what was said; a cell opens its images."""
    concepts, left_out = _shown_concepts(opened)
    names = {**{each: each for each in concepts}, **opened.names()}
    cells = {
        (cell.actual_concept.id, cell.predicted_concept.id): cell.value
        for cell in opened.metrics.confusion_matrix.matrix
    }
    counts = {each.concept.id: each.count for each in opened.metrics.label_counts.positive_label_counts}

    def choose(actual: str, predicted: str) -> None:
        opened.visit.remember(actual=actual, predicted=predicted)
        shown.draw()

    with pieces.card("What was taken for what"):
        pieces.text("Rows: what is true. Columns: what was said. Choose a cell for its images.", classes="lehr-quiet")
        with pieces.element("div", "lehr-table-scroll"), pieces.element("table", "lehr-matrix"):
            pieces.text("Confusion matrix: shares of each row", tag="caption", classes="lehr-hidden")
            _matrix_head(concepts, names)
            with pieces.element("tbody"):
                for actual in concepts:
                    with pieces.element("tr"):
                        label = f"{names[actual]} ({counts.get(actual, 0)})"
                        pieces.text(label, tag="th", classes="lehr-matrix-row").props("scope=row")
                        for predicted in concepts:
                            _cell(names, (actual, predicted), cells.get((actual, predicted), 0.0), choose)
        if left_out:
            pieces.text(
                f"The {_MOST_CONCEPTS} most frequent concepts; {left_out} more are in the table.", classes="lehr-quiet"
            )
    shown = pieces.Redrawn(lambda _: _cell_images(opened, names))


def _shown_concepts(opened: Opened) -> tuple[list[str], int]:
    ids = list(opened.metrics.confusion_matrix.concept_ids)
    counts = {each.concept.id: each.count for each in opened.metrics.label_counts.positive_label_counts}
    kept = set(sorted(ids, key=lambda each: -counts.get(each, 0))[:_MOST_CONCEPTS])
    return [each for each in ids if each in kept], len(ids) - len(kept)


def _matrix_head(concepts: Sequence[str], names: dict[str, str]) -> None:
    with pieces.element("thead"), pieces.element("tr"):
        pieces.element("td")
        for predicted in concepts:
            with pieces.element("th", "lehr-matrix-column").props("scope=col"):
                pieces.text(names[predicted], tag="span")


def _cell(names: dict[str, str], pair: tuple[str, str], share: float, choose: Callable[[str, str], None]) -> None:
    actual, predicted = pair
    is_right = actual == predicted
    with pieces.element("td"):
        if not share:
            pieces.element("span", "lehr-matrix-empty")
            return
        with pieces.element(
            "button", f"lehr-matrix-cell lehr-matrix-{'right' if is_right else 'wrong'}", type="button"
        ) as made:
            made.props["aria-label"] = f"{names[actual]} taken for {names[predicted]}: {share:.0%}; show the images"
            made.style(f"--share: {12 + 58 * share:.0f}%")
            made.on("click", lambda: choose(actual, predicted))
            pieces.text(f"{100 * share:.0f}", tag="span")


def _cell_images(opened: Opened, names: dict[str, str]) -> None:
    actual, predicted = opened.visit.query("actual"), opened.visit.query("predicted")
    if actual not in names or predicted not in names:
        return
    found = [
        entry for entry in opened.metrics.test_set if actual in truth_of(entry) and _taken_for(entry, actual, predicted)
    ]
    with pieces.card(f"{names[actual]}, taken for {names[predicted]}"):
        if not found:
            pieces.text("None of the listed items.", classes="lehr-quiet")
        with pieces.element("div", "lehr-wall"):
            for entry in found[:_PER_PAGE]:
                value = _probability(entry, predicted)
                picture(opened.visit, entry, [f"{names[predicted]} {value:.2f}"])
        if len(found) > _PER_PAGE:
            pieces.text(f"The first {_PER_PAGE} of {words.count(len(found))}.", classes="lehr-quiet lehr-small")


def _taken_for(entry: resources_pb2.EvalTestSetEntry, actual: str, predicted: str) -> bool:
    """As the matrix counts, see `taken_for` in learn/metrics/classification.py."""
    truth = truth_of(entry)
    if actual in {concept.id for concept in entry.predicted_concepts[: len(truth)]}:
        return predicted == actual
    return predicted == next((each.id for each in entry.predicted_concepts if each.id not in truth), "")


def _probability(entry: resources_pb2.EvalTestSetEntry, concept_id: str) -> float:
    return next((each.value for each in entry.predicted_concepts if each.id == concept_id), 0.0)


# -- curves ------------------------------------------------------------------------------------------------------------


def curves(opened: Opened) -> None:
    """Precision against recall, and rates of right and false alarms, of one concept, with a threshold to move."""
    found = {each.concept.id: each for each in opened.metrics.binary_metrics if each.num_pos}
    if not found:
        pieces.empty("show_chart", "No curves", "No concept has an item of its own in this data.")
        return
    chosen = opened.visit.query("concept") if opened.visit.query("concept") in found else next(iter(found))
    names = {each: metrics.concept.name or each for each, metrics in found.items()}
    with pieces.card():
        choice = pieces.choice(names, "Concept", chosen, with_input=len(names) > 12)

        def change(concept_id: object) -> None:
            opened.visit.remember(concept=str(concept_id or ""))
            opened.visit.reload()

        choice.on_value_change(lambda event: change(event.value))
        place = pieces.element("div", "lehr-stack")
    with pieces.element("div", "lehr-halves"):
        drawn = [draw for draw in (_pr(found[chosen]), _roc(found[chosen])) if draw is not None]
    with place:
        _threshold(opened, found[chosen], drawn)


Mark = Callable[[float], None]
"""Marks the place of a threshold on a curve."""


def _threshold(opened: Opened, metrics: resources_pb2.BinaryMetrics, marks: Sequence[Mark]) -> None:
    """What a threshold would give, read off the curve."""
    curve = metrics.precision_recall_curve
    points = sorted(zip(curve.thresholds, curve.precision, curve.recall, strict=True))

    def draw(_: pieces.Redrawn) -> None:
        threshold, precision, recall = min(points, key=lambda point: abs(point[0] - slider.value))
        for mark in marks:
            mark(threshold)
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        with pieces.element("div", "lehr-sums").props("role=status"):
            for name, value in (("threshold", threshold), ("precision", precision), ("recall", recall), ("F1", f1)):
                with pieces.element("div"):
                    pieces.text(f"{value:.3f}", tag="span", classes="lehr-figure-number")
                    pieces.text(f" {name}", tag="span", classes="lehr-quiet")
        found = round(recall * metrics.num_pos)
        said = round(found / precision) if precision else 0
        right = f"{words.count(found)} of {words.count(metrics.num_pos)} found"
        pieces.text(f"{right}, {words.counted(max(said - found, 0), 'false alarm')}.", classes="lehr-quiet")

    pieces.text("Threshold", classes="lehr-small lehr-quiet")
    start = _number(opened.visit.query("threshold"), 0.5)
    slider = Slider("Threshold", limits=(0, 1), step=0.05, value=start)
    shown = pieces.Redrawn(draw)
    slider.on_slid(lambda _: shown.draw())
    slider.on_done(lambda value: opened.visit.remember(threshold=f"{value:.2f}"))


def _number(text: str, otherwise: float) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return otherwise


def _marked(
    heading: str, axes: charts.Axes, series: Sequence[charts.Series], thresholds: Sequence[float], label: str
) -> Mark:
    """A chart of one curve (the first of the series), of which a place can be marked."""
    points = series[0].points

    def marked(threshold: float) -> list[charts.Series]:
        nearest = min(range(len(points)), key=lambda number: abs(thresholds[number] - threshold))
        return [*series, charts.Series(name="threshold", points=[points[nearest]], colour="var(--text)")]

    with pieces.card(label):
        drawn = charts.Curves(heading, axes, marked(0.5))
    return lambda threshold: drawn.show(marked(threshold))


def _pr(metrics: resources_pb2.BinaryMetrics) -> Mark | None:
    curve = metrics.precision_recall_curve
    ordered = sorted(zip(curve.thresholds, curve.recall, curve.precision, strict=True), reverse=True)
    if not ordered:
        return None
    axes = charts.Axes(x="recall", least=0, most=1, x_most=1)
    precision = charts.Series(name="precision", points=[(recall, value) for _, recall, value in ordered])
    label = f"Precision over recall, average precision {metrics.avg_precision:.3f}"
    return _marked("Precision over recall", axes, [precision], [each for each, _, _ in ordered], label)


def _roc(metrics: resources_pb2.BinaryMetrics) -> Mark | None:
    curve = metrics.roc_curve
    ordered = sorted(zip(curve.thresholds, curve.fpr, curve.tpr, strict=True), reverse=True)
    if not ordered:
        return None
    axes = charts.Axes(x="false positive rate", least=0, most=1, x_most=1)
    rates = charts.Series(name="true positive rate", points=[(fpr, tpr) for _, fpr, tpr in ordered])
    chance = charts.Series(name="chance", points=[(0, 0), (1, 1)], is_faint=True, colour="var(--faint)")
    heading = "True positive rate over false positive rate"
    return _marked(heading, axes, [rates, chance], [each for each, _, _ in ordered], f"ROC, area {metrics.roc_auc:.3f}")


# -- mistakes ----------------------------------------------------------------------------------------------------------


async def mistakes(opened: Opened) -> None:
    """Items that were taken for something else, those with the largest loss first."""
    exclusive = is_exclusive(opened)
    wrong = [entry for entry in opened.metrics.test_set if said_of(entry, exclusive=exclusive) != truth_of(entry)]
    wrong.sort(key=lambda entry: -loss_of(entry, exclusive=exclusive))
    if not wrong:
        pieces.empty("verified", "No mistakes", "Every listed item was taken for what it is.")
        return
    total = len(opened.metrics.test_set)
    with pieces.card(f"{words.counted(len(wrong), 'mistake')} among {words.counted(total, 'item')}, the worst first"):
        pieces.text(
            "A wrong label looks like a bad mistake: open the image to see, and to put it right.", classes="lehr-quiet"
        )
        with pieces.element("div", "lehr-wall"):
            for entry in wrong[:_PER_PAGE]:
                _mistake(opened, entry, exclusive=exclusive)
        if len(wrong) > _PER_PAGE:
            pieces.text(f"The worst {_PER_PAGE} of {words.count(len(wrong))}.", classes="lehr-quiet lehr-small")


def _mistake(opened: Opened, entry: resources_pb2.EvalTestSetEntry, *, exclusive: bool) -> None:
    said = said_of(entry, exclusive=exclusive)
    values = [f"{each.name or each.id} {each.value:.2f}" for each in entry.predicted_concepts if each.id in said]
    truth = ", ".join(sorted(each.name or each.id for each in entry.ground_truth_concepts)) or "nothing"
    loss = loss_of(entry, exclusive=exclusive)
    picture(opened.visit, entry, [f"said {', '.join(values) or 'nothing'}", f"is {truth} · loss {loss:.2f}"])


def loss_of(entry: resources_pb2.EvalTestSetEntry, *, exclusive: bool) -> float:
    """Cross-entropy of an item's probabilities with its truth: of the one true concept, or over all of them."""
    truth = truth_of(entry)
    if exclusive:
        return -math.log(max(sum(_probability(entry, each) for each in truth), _LEAST_PROBABILITY))
    return sum(
        -math.log(max(each.value if each.id in truth else 1 - each.value, _LEAST_PROBABILITY))
        for each in entry.predicted_concepts
    )
