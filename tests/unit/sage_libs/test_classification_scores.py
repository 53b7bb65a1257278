from __future__ import annotations

import pytest

from sage_libs.classification_scores import classification_scores


def test_scores_of_labels_and_their_mean() -> None:
    scores = classification_scores([("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"), ("c", None)])
    assert scores.accuracy == 0.6
    shown = [(one.label, one.precision, one.recall, one.right) for one in scores.labels]
    assert shown == [("a", 1.0, 2 / 3, 3), ("b", 0.5, 1.0, 1), ("c", 0.0, 0.0, 1)]
    assert scores.macro_f1 == pytest.approx((0.8 + 2 / 3 + 0) / 3)
    assert (scores.recall_of("b"), scores.recall_of("z")) == (1.0, 0.0)


def test_of_nothing_the_scores_are_nothing() -> None:
    scores = classification_scores([])
    assert (scores.accuracy, scores.macro_f1) == (0.0, 0.0)
