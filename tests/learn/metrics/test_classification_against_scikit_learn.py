"""The classifier's figures against scikit-learn, with ties and rare concepts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from lehr.learn.metrics.classification import evaluation
from lehr.learn.metrics.ranking import ranking


@pytest.fixture(scope="module", params=range(4))
def scored(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(request.param)
    targets = (rng.random((60, 3)) < [0.5, 0.1, 0.9]).astype(int)
    targets[0], targets[1] = 1, 0  # of every concept both kinds
    probabilities = np.clip(targets * 0.3 + rng.random((60, 3)) * 0.7, 0, 1)
    return probabilities.round(request.param % 2 + 1), targets  # rounding makes ties


def test_areas_and_average_precisions(scored: tuple[np.ndarray, np.ndarray]) -> None:
    for scores, truth in zip(scored[0].T, scored[1].T, strict=True):
        ranked = ranking(scores, truth > 0)
        assert ranked.roc_auc() == pytest.approx(sk.roc_auc_score(truth, scores))
        assert ranked.average_precision() == pytest.approx(sk.average_precision_score(truth, scores))


def test_the_best_threshold_has_the_best_f1_of_all(scored: tuple[np.ndarray, np.ndarray]) -> None:
    for scores, truth in zip(scored[0].T, scored[1].T, strict=True):
        every = [sk.f1_score(truth, scores >= threshold, zero_division=0) for threshold in np.unique(scores)]
        assert sk.f1_score(truth, scores >= ranking(scores, truth > 0).best_threshold()) == pytest.approx(max(every))


def test_figures_at_one_half_and_curves(scored: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, truth = scored
    whole = evaluation(["a", "b", "c"], [str(i) for i in range(60)], probabilities, truth)
    for k, concept in enumerate(whole.concepts):
        shown = probabilities[:, k] >= 0.5
        assert concept.f1 == pytest.approx(sk.f1_score(truth[:, k], shown, zero_division=0))
        assert concept.precision == pytest.approx(sk.precision_score(truth[:, k], shown, zero_division=0))
        assert 0.5 in concept.roc_curve.thresholds
        for threshold, recall, precision in zip(
            concept.pr_curve.thresholds, concept.pr_curve.x, concept.pr_curve.y, strict=True
        ):
            at = probabilities[:, k] >= threshold
            assert recall == pytest.approx(sk.recall_score(truth[:, k], at))
            assert precision == pytest.approx(sk.precision_score(truth[:, k], at, zero_division=1))
        for threshold, false_rate in zip(concept.roc_curve.thresholds, concept.roc_curve.x, strict=True):
            (true_negative, false_positive), _ = sk.confusion_matrix(truth[:, k], probabilities[:, k] >= threshold)
            assert false_rate == pytest.approx(false_positive / (false_positive + true_negative))
    assert np.array_equal(np.array(whole.cooccurrence), truth.T @ truth)
    assert np.array_equal(np.array(whole.confusion).sum(1), truth.sum(0))
