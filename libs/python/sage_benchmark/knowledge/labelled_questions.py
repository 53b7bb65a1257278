"""Questions with the passages that answer them, and how well a ranking does on them."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from sage_libs.markup import plain_text
from sage_middleware.knowledge.records import Passage

DEPTH = 10
# Of the words of a sentence that answers, so many have to be in one that words it otherwise.
_REWORDED_SHARE = 0.7
_WORD = re.compile(r"\w+")


class Split(str, Enum):
    """What a question is for: choosing constants, or telling how good they are."""

    TUNING = "tuning"
    HELD_OUT = "held-out"


class LabelledQuestion(NamedTuple):
    """A question.

    Attributes:
        file: of the document that answers it, relative to the folder.
        heading: begins the last heading above the answer; may be empty.
        sentence: part of the sentence that an answer should begin with; markup and punctuation do not count.
        also: further sentences that answer, as ``FILE::PART OF THE SENTENCE``, between `` || ``.
        split: a ``Split``.
    """

    question: str
    file: str
    heading: str
    sentence: str
    also: str = ""
    split: str = Split.TUNING.value

    @property
    def answers(self) -> list[tuple[str, str]]:
        """Every file with part of a sentence in it that answers."""
        others = (one.partition("::") for one in self.also.split(" || ") if one)
        return [(self.file, self.sentence), *((file, sentence) for file, _, sentence in others)]

    def is_answered_by(self, passage: Passage) -> bool:
        """Whether a sentence that answers is in ``passage``."""
        said = words_of(passage.text)
        return any(passage.path == file and words_of(sentence) in said for file, sentence in self.answers)

    def is_answered_with(self, sentence: str) -> bool:
        """Whether ``sentence`` is one that answers, word for word."""
        said = words_of(sentence)
        return any(words_of(right) in said for _, right in self.answers)

    def is_reworded_in(self, sentence: str) -> bool:
        """Whether ``sentence`` has most of the words of one that answers, for texts that are not quoted."""
        said = set(words_of(sentence).split())
        for _, right in self.answers:
            wanted = set(words_of(right).split())
            if len(wanted & said) >= _REWORDED_SHARE * len(wanted):
                return True
        return False


def words_of(text: str) -> str:
    """Return the words of ``text`` in lower case, between single spaces, without markup and punctuation."""
    return " ".join(_WORD.findall(plain_text(text).lower()))


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
