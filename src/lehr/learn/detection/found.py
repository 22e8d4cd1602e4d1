"""A picture's boxes as one array of fixed shape: what a predictor answers. No torch.

Every row is top, left, bottom, right (fractions of the picture's height and width), score, class; best first. Pictures
have different numbers of boxes, and answers equal shapes: rows after the last box have class -1 and score 0.
"""

from __future__ import annotations

import numpy as np

from lehr.learn.metrics.mean_average_precision import LIMIT, ImageBoxes

COLUMNS = 6


def rows_of(found: ImageBoxes, size: tuple[int, int]) -> np.ndarray:
    """float32 [100, 6] of one picture's boxes in pixels; `size` is the height and width that those pixels refer to."""
    assert found.scores is not None, "found boxes have scores"
    height, width = size
    rows = np.zeros((LIMIT, COLUMNS), np.float32)
    rows[:, 5] = -1
    boxes = found.boxes.reshape(-1, 4)[:, [1, 0, 3, 2]] / np.array([height, width, height, width], np.float32)
    rows[: len(boxes), :4] = np.clip(boxes, 0, 1)
    rows[: len(boxes), 4], rows[: len(boxes), 5] = found.scores, found.classes
    return rows


def boxes_in(rows: np.ndarray) -> np.ndarray:
    """float32 [M, 6]: the rows that hold a box."""
    return rows[rows[:, 5] >= 0]


def pixels_of(rows: np.ndarray, size: tuple[int, int]) -> ImageBoxes:
    """The inverse of `rows_of`."""
    held = boxes_in(rows)
    height, width = size
    boxes = held[:, [1, 0, 3, 2]] * np.array([width, height, width, height], np.float32)
    return ImageBoxes(boxes=boxes, classes=held[:, 5].astype(np.int64), scores=held[:, 4])
