"""How well labels were found: accuracy, and precision, recall and F1 of each label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class LabelScore:
    """Of one label; precision is 0 where it was never given, recall where it never was the right one."""

    label: str
    precision: float
    recall: float
    right: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True)
class ClassificationScores:
    """Of all labels that were right ones.

    Attributes:
        accuracy: share of cases with the right label, from 0 to 1.
        labels: by name.
    """

    accuracy: float
    labels: tuple[LabelScore, ...]

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the labels, each as much as the others however rare."""
        return sum(score.f1 for score in self.labels) / len(self.labels) if self.labels else 0.0

    def recall_of(self, label: str) -> float:
        """Return the recall of a label; 0 for one that was never the right one."""
        return next((score.recall for score in self.labels if score.label == label), 0.0)


def classification_scores(pairs: Iterable[tuple[str, str | None]]) -> ClassificationScores:
    """Return the scores of pairs of the right label and the one that was given; None where none was, which is wrong."""
    counted = Counter(pairs)
    total = sum(counted.values())
    scores = []
    for label in sorted({right for right, _ in counted}):
        hits = counted[label, label]
        given = sum(count for (_, found), count in counted.items() if found == label)
        wanted = sum(count for (right, _), count in counted.items() if right == label)
        scores.append(LabelScore(label, hits / given if given else 0.0, hits / wanted, wanted))
    agreed = sum(count for (right, found), count in counted.items() if right == found)
    return ClassificationScores(agreed / total if total else 0.0, tuple(scores))
