"""What pages make of an evaluation, beside the plain rules: boxes, confusions, losses, likeness."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lehr.learn.metrics.classification import evaluation, taken_for
from lehr.protocol import resources_pb2 as r
from lehr.services import eval_metrics
from lehr.web import evaluation_boxes, evaluation_concepts, evaluation_map
from lehr.web.evaluation import truth_of

CONCEPTS = ("a", "b", "c", "d")


@pytest.mark.parametrize("most", [1, 3], ids=["one concept each", "several concepts each"])
def test_the_images_of_a_cell_are_as_many_as_the_matrix_counts(most: int):
    random = np.random.default_rng(most)
    probabilities_NK = random.random((60, 4)).round(6)
    truth_NK = np.zeros((60, 4), bool)
    for row in truth_NK:
        row[random.choice(4, size=random.integers(1, most + 1), replace=False)] = True
    found = eval_metrics.bulky(evaluation(CONCEPTS, [str(n) for n in range(60)], probabilities_NK, truth_NK))
    counts = taken_for(probabilities_NK, truth_NK)
    for row, actual in enumerate(CONCEPTS):
        for column, predicted in enumerate(CONCEPTS):
            cell = [
                entry
                for entry in found.test_set
                if actual in truth_of(entry) and evaluation_concepts._taken_for(entry, actual, predicted)
            ]
            assert len(cell) == counts[row, column]


def entry_of(values: dict[str, float], *truth: str) -> r.EvalTestSetEntry:
    said = sorted(values.items(), key=lambda pair: -pair[1])
    return r.EvalTestSetEntry(
        predicted_concepts=[r.Concept(id=name, value=value) for name, value in said],
        ground_truth_concepts=[r.Concept(id=name, value=1) for name in truth],
    )


def test_the_worst_mistake_is_the_one_that_was_surest():
    sure = entry_of({"a": 0.98, "b": 0.02}, "b")
    unsure = entry_of({"a": 0.6, "b": 0.4}, "b")
    assert evaluation_concepts.loss_of(sure, exclusive=True) == pytest.approx(-math.log(0.02))
    assert evaluation_concepts.loss_of(unsure, exclusive=True) == pytest.approx(-math.log(0.4))
    both = evaluation_concepts.loss_of(entry_of({"a": 0.9, "b": 0.25}, "b"), exclusive=False)
    assert both == pytest.approx(-math.log(0.1) - math.log(0.25))
    assert evaluation_concepts.loss_of(entry_of({"a": 1.0}, "z"), exclusive=True) < 20


def region(concept: str, corners: tuple[float, float, float, float], value: float = 1) -> r.Region:
    top, left, bottom, right = corners
    box = r.BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right)
    concepts = [r.Concept(id=concept, value=value)]
    return r.Region(value=value, region_info=r.RegionInfo(bounding_box=box), data=r.Data(concepts=concepts))


def test_boxes_are_found_invented_or_missed():
    entry = r.EvalTestSetEntry()
    entry.ground_truth_annotation.data.regions.extend(
        [region("disc", (0, 0, 0.5, 0.5)), region("disc", (0.5, 0.5, 1, 1)), region("square", (0, 0.5, 0.5, 1))]
    )
    entry.predicted_annotation.data.regions.extend(
        [
            region("disc", (0.02, 0, 0.5, 0.5), 0.9),
            region("disc", (0, 0, 0.48, 0.5), 0.7),  # a second box over the same disc
            region("disc", (0, 0.5, 0.5, 1), 0.6),  # a square taken for a disc
            region("disc", (0.5, 0.5, 1, 1), 0.1),  # below the score that counts
        ]
    )
    drawn = evaluation_boxes.compared(entry, 0.3)
    kinds = [(box.concept, box.kind) for box in drawn]
    assert kinds == [("disc", "right"), ("disc", "false"), ("disc", "false"), ("disc", "missed"), ("square", "missed")]
    assert evaluation_boxes.wrongness(drawn) == pytest.approx(0.7 + 0.6 + 2)


def test_overlap_is_intersection_over_union():
    assert evaluation_boxes.overlap((0, 0, 1, 1), (0, 0, 1, 1)) == 1
    assert evaluation_boxes.overlap((0, 0, 1, 0.5), (0, 0.25, 1, 0.75)) == pytest.approx(1 / 3)
    assert evaluation_boxes.overlap((0, 0, 0.4, 0.4), (0.5, 0.5, 1, 1)) == 0
    assert evaluation_boxes.overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_a_map_keeps_far_apart_what_is_far_apart_and_neighbours_are_the_most_alike():
    random = np.random.default_rng(0)
    centres = np.linalg.qr(random.normal(size=(16, 16)))[0][:3]
    vectors = np.concatenate([centre + 0.05 * random.normal(size=(10, 16)) for centre in centres]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = evaluation_map.flat(vectors)
    assert places.shape == (30, 2)
    groups = places.reshape(3, 10, 2)
    spread = np.linalg.norm(groups - groups.mean(axis=1, keepdims=True), axis=2).max()
    middles = groups.mean(axis=1)
    assert min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 3 * spread
    near = evaluation_map.nearest(vectors, 4)
    assert all(index // 10 == 0 and index != 4 for index, _ in near)
    cosines = [cosine for _, cosine in near]
    assert cosines == sorted(cosines, reverse=True)
    assert evaluation_map.flat(np.ones((3, 1), np.float32)).shape == (3, 2)
