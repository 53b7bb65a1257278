"""Questions with the passages that answer them, and how well a ranking does on them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sage_middleware.knowledge.records import Passage

DEPTH = 10


class LabelledQuestion(NamedTuple):
    """A question.

    Attributes:
        file: of the document that answers it, relative to the folder.
        heading: begins the last heading above the answer.
        sentence: part of the sentence that an answer should begin with; the kind of white space does not count.
    """

    question: str
    file: str
    heading: str
    sentence: str

    def is_answered_by(self, passage: Passage) -> bool:
        """Whether the sentence is in ``passage``."""
        return passage.path == self.file and self.sentence in " ".join(passage.text.split())


class RankingQuality(NamedTuple):
    """Shares of the questions: answered by the first passage, by one of four; and the mean nDCG of ten."""

    hit_at_1: float
    hit_at_4: float
    ndcg_at_10: float


def read_questions(file: Path) -> list[LabelledQuestion]:
    """Read a table of tab-separated columns, named as the fields of a question. Raises OSError."""
    with file.open(encoding="utf-8", newline="") as lines:
        return [LabelledQuestion(**row) for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]


def ranking_quality(
    questions: Sequence[LabelledQuestion], find: Callable[[LabelledQuestion], Sequence[Passage]]
) -> RankingQuality:
    """Return how well the first ten passages that ``find`` gives for each question answer it.

    A question has one passage that answers, so its nDCG is 1 / log2(rank + 1): Järvelin and Kekäläinen, "Cumulated
    Gain-Based Evaluation of IR Techniques", TOIS 2002.
    """
    first = four = gain = 0.0
    for question in questions:
        ranks = (rank for rank, one in enumerate(find(question)[:DEPTH], start=1) if question.is_answered_by(one))
        rank = next(ranks, None)
        if rank is not None:
            first += rank == 1
            four += rank <= 4
            gain += 1 / math.log2(rank + 1)
    count = len(questions)
    return RankingQuality(first / count, four / count, gain / count)
