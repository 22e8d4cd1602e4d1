"""Boxes in annotations become training boxes; found boxes become regions; measured boxes become metrics."""

from types import SimpleNamespace

import numpy as np
import pytest

from lehr.errors import InvalidPrediction
from lehr.learn.detection.found import rows_of
from lehr.learn.metrics.detection import DetectorEvaluation, Measured, detector_evaluation
from lehr.learn.metrics.mean_average_precision import AREAS, OVERLAPS, ImageBoxes
from lehr.protocol import resources_pb2 as r
from lehr.protocol.structs import to_struct
from lehr.services import eval_metrics
from lehr.services.model_types import get_type
from lehr.services.predicted_regions import Shown, regions_of, threshold_of
from lehr.services.trained import summary_of
from lehr.services.training_data import boxes_told

FOUND = ImageBoxes(
    boxes=np.array([[10.0, 20, 30, 60], [0, 0, 50, 100], [5, 5, 9, 9]], np.float32),
    classes=np.array([1, 0, 1]),
    scores=np.array([0.9, 0.5, 0.3], np.float32),
)
ROWS = rows_of(FOUND, (100, 50))


def shown(**changes):
    return regions_of(
        ROWS, Shown(**{"concept_ids": ("ant", "bee"), "names": {"bee": "Apis"}, "threshold": 0, **changes})
    )


def test_regions_come_best_first_with_their_box_and_concept():
    first, *others = shown()
    box = first.region_info.bounding_box
    assert [box.top_row, box.left_col, box.bottom_row, box.right_col] == pytest.approx([0.2, 0.2, 0.6, 0.6])
    assert (first.data.concepts[0].id, first.data.concepts[0].name) == ("bee", "Apis")
    assert first.value == first.data.concepts[0].value == pytest.approx(0.9)
    assert [region.value for region in others] == pytest.approx([0.5, 0.3])
    assert len({region.id for region in (first, *others)}) == 3


def test_scores_at_the_threshold_are_not_shown_and_wishes_apply_together():
    assert len(shown(threshold=0.5)) == 1
    assert len(shown(min_value=0.5)) == 2
    assert [region.value for region in shown(select=frozenset({"Apis"}))] == pytest.approx([0.9, 0.3])
    assert len(shown(select=frozenset({"bee"}), threshold=0.4)) == 1


def info(**params) -> r.OutputInfo:
    return r.OutputInfo(params=to_struct(params))


@pytest.mark.parametrize(
    ("asked", "own", "expected"),
    [
        ([], info(), 0.6),
        ([], info(detection_threshold=0.3), 0.6),
        ([], info(detection_threshold=0.2), 0.2),
        ([info(detection_threshold=0)], info(detection_threshold=0.2), 0.0),
        ([info(), info(detection_score_threshold=0.7)], info(), 0.7),
    ],
)
def test_the_request_decides_the_threshold_then_the_version_then_the_form(asked, own, expected):
    bundle = SimpleNamespace(form={"detection_score_threshold": 0.6})
    assert threshold_of(asked, own, bundle) == pytest.approx(expected)


@pytest.mark.parametrize("value", [1.5, -0.1, "high", True])
def test_a_threshold_that_cannot_be_is_refused(value):
    with pytest.raises(InvalidPrediction, match="from 0 to 1"):
        threshold_of([info(detection_threshold=value)], info(), SimpleNamespace(form={}))


def test_boxes_and_polygons_with_concepts_that_are_true_are_training_boxes():
    def region(value: float, **where) -> r.Region:
        return r.Region(region_info=r.RegionInfo(**where), data=r.Data(concepts=[r.Concept(id="cat", value=value)]))

    box = r.BoundingBox(top_row=0.25, left_col=0.5, bottom_row=0.75, right_col=1)
    corners = [r.Point(row=0.5, col=0.25), r.Point(row=0.75, col=0.5), r.Point(row=0.5, col=0.75)]
    told = [region(1, bounding_box=box), region(0, bounding_box=box), region(1, polygon=r.Polygon(points=corners))]
    told.append(region(1, point=r.Point(row=0.5, col=0.5)))
    boxes = boxes_told([r.Data(regions=told)])
    found = [(one.concept, one.top, one.left, one.bottom, one.right) for one in boxes]
    assert found == [("cat", 0.25, 0.5, 0.75, 1), ("cat", 0.5, 0.25, 0.75, 0.75)]


def measured() -> DetectorEvaluation:
    truth = ImageBoxes(boxes=np.array([[10.0, 20, 30, 60]]), classes=np.array([1]))
    return detector_evaluation(("ant", "bee"), [Measured(item_id="i1", size=(100, 50), truth=truth, found=FOUND)])


def test_figures_of_boxes_are_told_by_class_overlap_and_area():
    evaluation = measured()
    assert DetectorEvaluation.from_json(evaluation.to_json()) == evaluation
    summary = summary_of(evaluation)
    assert summary.mean_avg_precision_iou_50 == summary.mean_avg_precision_iou_range == 1
    parts = eval_metrics.bulky(evaluation)
    assert len(parts.metrics_by_class) == 2 * len(OVERLAPS)
    assert len(parts.metrics_by_area) == 2 * len(AREAS)
    [bee] = [entry for entry in parts.binary_metrics if entry.concept.id == "bee"]
    assert (bee.num_pos, bee.avg_precision, bee.iou, bee.area_name) == (1, 1, 0.5, "all")
    [entry] = parts.test_set
    assert entry.input.id == "i1"
    assert [region.data.concepts[0].id for region in entry.predicted_annotation.data.regions] == ["bee", "ant", "bee"]
    assert entry.ground_truth_annotation.data.regions[0].region_info.bounding_box.top_row == pytest.approx(0.2)
    eval_metrics.name_concepts(parts, {"bee": "Apis"})
    assert entry.predicted_annotation.data.regions[0].data.concepts[0].name == "Apis"
    described = r.EvalMetrics()
    eval_metrics.describe(described, evaluation)
    assert described.summary == summary


def test_the_sheet_of_detectors_ends_with_the_threshold():
    sheet = get_type("visual-detector")
    assert list(sheet.output_fields) == ["regions[...].region_info.bounding_box", "regions[...].data.concepts"]
    params = [field.path for field in sheet.model_type_fields if field.path.startswith("output_info.params.")]
    assert params[-1] == "output_info.params.detection_threshold"
    assert all(field.placeholder and "." in field.path for field in sheet.model_type_fields)
    options = sheet.model_type_fields[0].model_type_enum_options
    assert {option.id for option in options} == {"Lehr_Lite", "Clarifai_InceptionV2", "Clarifai_InceptionV4"}
    [ratios] = [f for f in options[0].model_type_fields if f.path == "train_info.params.anchor_ratios"]
    assert ratios.default_value.string_value == "0.5, 1, 2"
