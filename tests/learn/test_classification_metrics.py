"""Figures of a classifier beside scikit-learn's and beside plain counting."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from sklearn import metrics as oracle

from lehr.learn.metrics.classification import Evaluation, evaluation, taken_for
from lehr.learn.metrics.ranking import ranking


@pytest.mark.parametrize("seed", range(20))
def test_ranking_figures_equal_scikit_learns_ties_included(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.random(50) < 0.3
    truth[:2] = True, False
    scores = np.round(generator.random(50) * 0.5 + truth * 0.3, 1 if seed % 2 else 6)
    ranked = ranking(scores, truth)
    assert ranked.roc_auc() == pytest.approx(oracle.roc_auc_score(truth, scores))
    assert ranked.average_precision() == pytest.approx(oracle.average_precision_score(truth, scores))
    best = oracle.f1_score(truth, scores >= ranked.best_threshold())
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
    assert [sum(row) for row in found.confusion] == truth.sum(axis=0).tolist()
    assert 0.5 in found.concepts[0].roc_curve.thresholds
    assert Evaluation.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_figure_that_cannot_be_known_is_none() -> None:
    found = evaluation("ab", ["1", "2"], np.array([[0.9, 0.1], [0.8, 0.3]]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert (found.concepts[0].roc_auc, found.concepts[1].average_precision) == (None, None)
    assert found.macro_roc_auc is None
    assert found.macro_f1 == 1.0
    assert found.thresholds["b"] == 0.5


def test_with_one_concept_per_item_the_confusion_matrix_is_scikit_learns_of_the_most_probable() -> None:
    generator = np.random.default_rng(1)
    probabilities, label = generator.random((200, 5)) * 0.3, generator.integers(0, 5, 200)
    expected = oracle.confusion_matrix(label, probabilities.argmax(axis=1), labels=range(5))
    np.testing.assert_array_equal(taken_for(probabilities, np.eye(5, dtype=bool)[label]), expected)


def test_an_item_of_several_concepts_names_as_many_and_what_it_misses_was_taken_for_a_wrong_one() -> None:
    truth = np.array([[True, True, False, False]])
    both_named, one_missed = np.array([[0.4, 0.3, 0.2, 0.1]]), np.array([[0.4, 0.1, 0.2, 0.3]])
    np.testing.assert_array_equal(taken_for(both_named, truth), np.diag([1, 1, 0, 0]))
    missed = taken_for(one_missed, truth)
    assert missed[0, 0] == missed[1, 3] == 1, "the second concept was taken for the fourth"
    assert missed.sum() == 2


def test_twenty_thousand_items_of_a_hundred_concepts_are_evaluated_within_seconds() -> None:
    generator = np.random.default_rng(0)
    probabilities, label = generator.random((20_000, 100), dtype=np.float32), generator.integers(0, 100, 20_000)
    began = time.process_time()
    found = evaluation(
        [f"c{k}" for k in range(100)], [str(n) for n in range(20_000)], probabilities, np.eye(100)[label]
    )
    assert time.process_time() - began < 6, "measured 1 s"
    assert found.macro_roc_auc == pytest.approx(0.5, abs=0.01)
