"""Figures of a classifier beside scikit-learn's and beside plain counting."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as oracle

from lehr.learn.metrics.classification import Evaluation, average_precision, best_threshold, evaluation, roc_auc


@pytest.mark.parametrize("seed", range(20))
def test_ranking_figures_equal_scikit_learns_ties_included(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.random(50) < 0.3
    truth[:2] = True, False
    scores = np.round(generator.random(50) * 0.5 + truth * 0.3, 1 if seed % 2 else 6)
    assert roc_auc(scores, truth) == pytest.approx(oracle.roc_auc_score(truth, scores))
    assert average_precision(scores, truth) == pytest.approx(oracle.average_precision_score(truth, scores))
    best = oracle.f1_score(truth, scores >= best_threshold(scores, truth))
    assert best == pytest.approx(max(oracle.f1_score(truth, scores >= score) for score in np.unique(scores)))


def test_an_evaluation_equals_counting_and_survives_json() -> None:
    generator = np.random.default_rng(0)
    probabilities, truth = generator.random((60, 3)), (generator.random((60, 3)) < 0.4).astype(float)
    truth[:5] = 0
    found = evaluation("abc", [str(number) for number in range(60)], probabilities, truth)
    guesses = probabilities >= 0.5
    for k, entry in enumerate(found.concepts):
        assert entry.f1 == pytest.approx(oracle.f1_score(truth[:, k], guesses[:, k]))
        assert entry.precision == pytest.approx(oracle.precision_score(truth[:, k], guesses[:, k]))
        for curve_at, threshold in enumerate(entry.pr_curve.thresholds):
            recall = ((probabilities[:, k] >= threshold) & (truth[:, k] > 0)).sum() / truth[:, k].sum()
            assert entry.pr_curve.x[curve_at] == pytest.approx(recall)
            assert entry.roc_curve.y[curve_at] == pytest.approx(recall)
    labelled = truth.any(axis=1)
    hits = truth[labelled][np.arange(labelled.sum()), probabilities[labelled].argmax(axis=1)]
    assert found.top1_accuracy == pytest.approx(hits.mean())
    assert sum(map(sum, found.confusion)) == truth.sum()
    assert 0.5 in found.concepts[0].roc_curve.thresholds
    assert Evaluation.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_figure_that_cannot_be_known_is_none() -> None:
    found = evaluation("ab", ["1", "2"], np.array([[0.9, 0.1], [0.8, 0.3]]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert (found.concepts[0].roc_auc, found.concepts[1].average_precision) == (None, None)
    assert found.macro_roc_auc is None
    assert found.macro_f1 == 1.0
    assert found.thresholds["b"] == 0.5
