"""What the benchmark of knowledge bases has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sage_benchmark.knowledge.labelled_questions import RankingQuality


@dataclass(frozen=True)
class KnowledgeFigure:
    """A measured value, with the bar for it where there is one."""

    name: str
    value: float
    unit: str
    bar: float | None = None
    at_most: bool = True

    @property
    def is_reached(self) -> bool | None:
        """Whether the bar is reached; None where there is none."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar


@dataclass
class KnowledgeResult:
    """What was measured.

    Attributes:
        quality: of each way to search, for each split of the questions.
        answers: the share whose first sentence is right, by split and way to answer.
    """

    figures: list[KnowledgeFigure] = field(default_factory=list)
    quality: dict[str, RankingQuality] = field(default_factory=dict)
    answers: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        figures = [
            {"name": one.name, "value": one.value, "unit": one.unit, "bar": one.bar, "reached": one.is_reached}
            for one in self.figures
        ]
        quality = {name: one._asdict() for name, one in self.quality.items()}
        return {"figures": figures, "quality": quality, "answers": self.answers}
