"""Which pieces of a context answer a question, the best first: by what they mean, say and follow. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log, log1p
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sage_libs.answer_signs import answer_signs
from sage_libs.evidence import Evidence, EvidenceForm, evidence_of

Floats = npt.NDArray[np.float32]

# Two pieces nearer than this say the same thing; the second is not repeated.
DUPLICATE_SIMILARITY = 0.97
# Words of headings above a piece that are read with it: the last of them, which are the nearest.
_HEADINGS_READ = 2
_LEAST_WORDS = 5
_SUFFIX = re.compile(r"(?<=\w{3})(?:ings?|ies|ed|es|s|ly)\Z")
_WORD = re.compile(r"[a-z0-9]+")
# Words that ask, which texts are not about.
_ASKING = frozenset(
    _WORD.findall(
        "a an and any are as at be by can could did do does else for from had has have how i if in is it its may me my "
        "no of on one or our should so tell than that the their them then there these they this to was we were what "
        "when where which who whom whose why will with would you your"
    )
)
_INTERROGATIVE = re.compile(
    r"(?:how (?:do|does|can|could|should|may|would) (?:i|you|one|we)|what (?:happens|is answered) (?:to|when|if)|"
    r"what (?:if|is|are|does|do)|where (?:do|does|is|are)|when (?:would|is|does|do)|why (?:does|do|is|are)|"
    r"(?:can|should|may) (?:i|you|one|we)|(?:in|under|at|on|for) (?:what|which)|"
    r"which|who|where|when|why|how|what|can|does|do|is|are|may|should)\s+",
    re.IGNORECASE,
)
# What begins so says something of the sentence before it.
_REFERS_BACK = re.compile(r"(?:it|this|that|these|those|they|such|there|he|she|here|then|its|their)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AnswerWeights:
    """How much each sign that a piece answers counts.

    A softmax regression over the pieces of the tuning half of the labelled questions, rounded; see ADR 46.

    Attributes:
        question: cosine similarity of the piece, read with its headings, to the question.
        statement: likewise to the question without its interrogative words.
        neighbours: likewise to the question, of the piece and those beside it, which count half.
        words: share of the question's words in the piece, weighted by how rare they are in the context.
        log_rank: of the logarithm of the passage's number.
        short: of fewer than five words.
        refers_back: beginning with a pronoun.
        heading: being a heading, which announces and does not say.
        expected: having the form that the question asks for; see ``answer_signs``.
        names_code: naming an option, a path or a name where a thing is asked for.
    """

    question: float = 1.0
    statement: float = 0.85
    neighbours: float = 0.4
    words: float = 0.6
    log_rank: float = -0.7
    short: float = -0.6
    refers_back: float = -0.3
    heading: float = -1.0
    expected: float = 0.3
    names_code: float = 0.15


class ContextPiece(NamedTuple):
    """A piece of a passage, with the passage's number (from 1) and the headings above it (``A > B``)."""

    evidence: Evidence
    passage: int
    heading: str

    @property
    def embedded_text(self) -> str:
        """What its vector is made of."""
        above = [*self.heading.split(" > ")[-_HEADINGS_READ:], self.evidence.lead]
        context = " > ".join(part for part in above if part)
        return f"{context}\n{self.evidence.text}" if context else self.evidence.text


class RankedPiece(NamedTuple):
    """A piece: its position among those given, and its score."""

    position: int
    score: float


def pieces_of(passages: Sequence[str], headings: Sequence[str]) -> list[ContextPiece]:
    """Return the pieces of passages, with the headings above each, in reading order."""
    return [
        ContextPiece(evidence, number, heading)
        for number, (passage, heading) in enumerate(zip(passages, headings, strict=True), start=1)
        for evidence in evidence_of(passage)
    ]


def statement_of(question: str) -> str:
    """Return a question without the words that ask: ``How do I stop it?`` is ``stop it``."""
    asked = question.strip().rstrip("?？ ")
    return _INTERROGATIVE.sub("", asked, count=1).strip() if _INTERROGATIVE.match(asked) else asked


def rank_pieces(
    question: str,
    question_vectors: npt.ArrayLike,
    piece_vectors: npt.ArrayLike,
    pieces: Sequence[ContextPiece],
    k: int,
    *,
    weights: AnswerWeights | None = None,
) -> list[RankedPiece]:
    """Return at most ``k`` pieces that answer a question and do not repeat each other, the best first.

    Args:
        question_vectors: of the question and of ``statement_of`` it, shape (2, d); any length.
        piece_vectors: of ``embedded_text``, shape (n, d), in the order of ``pieces``; any length.
        pieces: in reading order, passage by passage.
        k: > 0.

    Returns:
        Ties go to the earlier piece. What does little more than repeat the question asks it too, and is not among them.
        Empty where none relates to the question at all (no similarity above zero).

    Raises:
        ValueError: shapes that do not agree, or k < 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}; ask for at least one piece")
    if not pieces:
        return []
    asked = np.asarray(question_vectors, dtype=np.float32)
    vectors = np.asarray(piece_vectors, dtype=np.float32)
    if asked.ndim != 2 or len(asked) != 2 or vectors.shape != (len(pieces), asked.shape[1]):
        raise ValueError(
            f"{len(pieces)} pieces need vectors of shape ({len(pieces)}, d) and a question of shape (2, d), "
            f"got {vectors.shape} and {asked.shape}"
        )
    asked, unit = _normalised(asked), _normalised(vectors)
    relevance = unit @ asked[0]
    scores = _scores(question, asked, unit, pieces, weights or AnswerWeights())
    echoes = np.fromiter((_repeats(question, piece.evidence.text) for piece in pieces), bool, len(pieces))
    allowed = (relevance > 0.0) & np.isfinite(scores) & ~echoes
    chosen: list[RankedPiece] = []
    for at in sorted(np.flatnonzero(allowed), key=lambda at: (-scores[at], at)):
        if len(chosen) == k:
            break
        if all(float(unit[at] @ unit[other.position]) < DUPLICATE_SIMILARITY for other in chosen):
            chosen.append(RankedPiece(int(at), float(scores[at])))
    return chosen


def _repeats(question: str, text: str) -> bool:
    """Return whether a text is the question word for word and not as much again; few words may be so by chance."""
    asked, said = _WORD.findall(question.lower()), _WORD.findall(text.lower())
    is_longer = len(said) > 2 * len(asked)
    return len(asked) >= _LEAST_WORDS and not is_longer and f" {' '.join(asked)} " in f" {' '.join(said)} "


def _scores(
    question: str, asked: Floats, unit: Floats, pieces: Sequence[ContextPiece], weights: AnswerWeights
) -> npt.NDArray[np.float64]:
    words = _shares_of_words(question, [piece.evidence.text for piece in pieces])
    signs = np.zeros(len(pieces))
    for at, piece in enumerate(pieces):
        text = piece.evidence.text
        form = answer_signs(question, text)
        signs[at] = (
            weights.words * words[at]
            + weights.log_rank * log1p(piece.passage - 1)
            + weights.short * (len(text.split()) < _LEAST_WORDS)
            + weights.refers_back * (_REFERS_BACK.match(text) is not None)
            + weights.heading * (piece.evidence.form is EvidenceForm.HEADING)
            + weights.expected * form.expected
            + weights.names_code * form.names_code
        )
    similar = weights.question * (unit @ asked[0]) + weights.statement * (unit @ asked[1])
    return np.asarray(similar + weights.neighbours * (_with_neighbours(unit, pieces) @ asked[0]) + signs)


def _with_neighbours(unit: Floats, pieces: Sequence[ContextPiece]) -> Floats:
    mixed = unit.copy()
    counts = np.ones(len(pieces), dtype=np.float32)
    for at in range(len(pieces) - 1):
        if pieces[at].passage == pieces[at + 1].passage:
            mixed[at] += 0.5 * unit[at + 1]
            mixed[at + 1] += 0.5 * unit[at]
            counts[at : at + 2] += 0.5
    return mixed / counts[:, np.newaxis]


def _shares_of_words(question: str, texts: Sequence[str]) -> list[float]:
    wanted = list(dict.fromkeys(_words(question)))
    found = [set(_words(text)) for text in texts]
    counts = Counter(word for words in found for word in words)
    # BM25's inverse document frequency, over the pieces of the context.
    rarity = {word: log(1 + (len(texts) - counts[word] + 0.5) / (counts[word] + 0.5)) for word in wanted}
    total = sum(rarity.values())
    return [sum(rarity[word] for word in wanted if word in words) / total if total else 0.0 for words in found]


def _words(text: str) -> list[str]:
    return [_SUFFIX.sub("", word) for word in _WORD.findall(text.lower()) if word not in _ASKING]


def _normalised(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0.0, lengths, 1.0), dtype=np.float32)
