"""How often the first sentence of an answer is right, for each way to choose it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy.typing as npt

from sage_apps.knowledge_answers import DEFAULT_CONTEXT_TOKENS, DEFAULT_PASSAGES, prompt_passage
from sage_benchmark.knowledge.labelled_questions import LabelledQuestion
from sage_kernel.model_port import ModelPort
from sage_libs.answer_ranking import AnswerWeights, ContextPiece, pieces_of, rank_pieces, statement_of
from sage_libs.prompts import Passage, rag_messages
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.refinement import refine
from sage_middleware.knowledge.retrieval import search

# Ways that quote, by what ranks the pieces of the context.
QUOTING_WAYS: Mapping[str, AnswerWeights] = MappingProxyType(
    {
        "words in common": AnswerWeights(0, 0, 0, 1, 0, 0, 0, 0, 0, 0),
        "embedder": AnswerWeights(1, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        "embedder, words and place": AnswerWeights(expected=0, names_code=0),
        "embedder, words, place and form": AnswerWeights(),
    }
)
_DEFAULT = "embedder, words, place and form"
_WORDED_PIECES = 3
_MAX_TOKENS = 80
_SENTENCE_END = re.compile(r"(?<=[.!?])\s")


@dataclass(frozen=True)
class AskedQuestion:
    """A question with what an engine is given to answer it from.

    Attributes:
        best: for each way to quote, the positions of the best pieces, best first.
    """

    labelled: LabelledQuestion
    passages: tuple[Passage, ...]
    pieces: tuple[ContextPiece, ...]
    best: Mapping[str, Sequence[int]]


async def ask(
    collection: Collection, labelled: LabelledQuestion, vector: npt.ArrayLike, models: ModelPort
) -> AskedQuestion:
    """Find and refine the passages for a question, as ``sage ask`` does, and rank their pieces in each way."""
    found = search(collection, labelled.question, vector, DEFAULT_PASSAGES)
    passages = refine(collection, found, DEFAULT_CONTEXT_TOKENS)
    pieces = pieces_of([one.text for one in passages], [one.heading for one in passages])
    best = await _best(labelled.question, pieces, models)
    return AskedQuestion(labelled, tuple(prompt_passage(one) for one in passages), tuple(pieces), best)


def shares_right(asked: Sequence[AskedQuestion]) -> dict[str, float]:
    """Return the share of answers whose first sentence is right, by way of quoting."""
    right = dict.fromkeys(QUOTING_WAYS, 0)
    for one in asked:
        for way, best in one.best.items():
            right[way] += bool(best) and one.labelled.is_answered_with(one.pieces[best[0]].evidence.text)
    return {way: count / len(asked) for way, count in right.items()}


async def shares_right_generated(asked: Sequence[AskedQuestion], models: ModelPort, model: str) -> dict[str, float]:
    """Return the share of answers of a model that generates whose first sentence has most of the words of a right one.

    Two ways: the model reads the passages; it words the best pieces that were quoted.
    """
    right = {model: 0, f"quoted sentences, worded by {model}": 0}
    for one in asked:
        question = one.labelled.question
        quoted = [Passage(one.pieces[at].evidence.text, one.pieces[at].heading) for at in one.best[_DEFAULT]]
        for way, passages in zip(right, (one.passages, quoted), strict=True):
            answer = await models.chat(rag_messages(question, passages), model, _MAX_TOKENS)
            right[way] += one.labelled.is_reworded_in(_SENTENCE_END.split(answer.text.strip(), maxsplit=1)[0])
    return {way: count / len(asked) for way, count in right.items()}


async def _best(question: str, pieces: Sequence[ContextPiece], models: ModelPort) -> dict[str, Sequence[int]]:
    texts = [question, statement_of(question), *(piece.embedded_text for piece in pieces)]
    vectors = (await models.embed(texts)).vectors
    return {
        way: [
            one.position
            for one in rank_pieces(question, vectors[:2], vectors[2:], pieces, _WORDED_PIECES, weights=weights)
        ]
        for way, weights in QUOTING_WAYS.items()
    }
