"""Answering a question from a knowledge base: what ``sage ask`` runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sage_common.errors import InvalidRequestError
from sage_kernel.model_port import ModelPort
from sage_libs.prompts import Passage as PromptPassage
from sage_libs.prompts import label_of, rag_messages
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.records import Passage
from sage_middleware.knowledge.refinement import refine
from sage_middleware.knowledge.retrieval import SearchMode, search

DEFAULT_PASSAGES = 4
MAX_QUESTION_CHARACTERS = 8_000
# Of the answer: a model that goes on and on costs time, and says no more.
DEFAULT_MAX_TOKENS = 512
# Of all passages together, by the embedding model's tokenizer: small models invent where their context is long.
DEFAULT_CONTEXT_TOKENS = 1_000
# Cosine similarity of MiniLM. Passages about something else come to 0.0 to 0.2, those that answer to 0.3 and more.
DEFAULT_MIN_SCORE = 0.2
# Passages that a reranker reads for each that is wanted.
_RERANKED = 5
_EXCERPT_CHARACTERS = 240


@dataclass(frozen=True)
class AnswerSource:
    """A passage that the answer was made from.

    Attributes:
        number: its number in the prompt and in the answer's ``[n]``, from 1.
        place: the document with the page, or the lines.
        heading: the headings above it, the document's title first.
        score: cosine similarity to the question; None where only its words were found.
        excerpt: how the passage begins, on one line.
    """

    number: int
    place: str
    path: str
    heading: str
    score: float | None
    excerpt: str
    start: int
    end: int
    line: int
    end_line: int
    page: int | None


@dataclass(frozen=True)
class KnowledgeAnswer:
    """An answer with what it rests on.

    Attributes:
        text: the model's answer; that nothing relevant was found where that is so.
        model: the model that wrote it; empty where none was asked.
        sources: the passages it was given, best first.
        timings: seconds by stage.
        left_out: files that an ingest before the question left out, and why.
    """

    text: str
    model: str
    sources: tuple[AnswerSource, ...]
    timings: Mapping[str, float]
    left_out: tuple[tuple[str, str], ...] = field(default=())


async def find_passages(
    collection: Collection,
    question: str,
    models: ModelPort,
    k: int,
    *,
    mode: SearchMode = SearchMode.HYBRID,
    filters: Mapping[str, str] | None = None,
    rerank: bool = False,
) -> list[Passage]:
    """Return the ``k`` passages that answer ``question`` best.

    Args:
        mode: whether vectors, words or both are compared.
        filters: what the document must have, see ``search``.
        rerank: whether a model reads the first of them with the question and orders them.

    Raises:
        InvalidRequestError: an empty or overlong question.
        ConflictError: the embedding model that answers is not the one of the vectors.
    """
    question = _checked(question)
    vector = None
    if mode is not SearchMode.WORDS and collection.model is not None:
        answer = await models.embed([question], collection.model)
        collection.check_model(answer.model, answer.vectors.shape[1])
        vector = answer.vectors[0]
    if vector is None:
        mode = SearchMode.WORDS
    wanted = k * _RERANKED if rerank else k
    found = await asyncio.to_thread(search, collection, question, vector, wanted, mode=mode, filters=filters)
    if rerank and found:
        ranking = await models.rank(question, [f"{one.heading}\n{one.text}" for one in found])
        order = sorted(range(len(found)), key=lambda at: -ranking.scores[at])
        found = [found[at] for at in order]
    return found[:k]


async def answer_from_knowledge(
    collection: Collection,
    question: str,
    models: ModelPort,
    k: int = DEFAULT_PASSAGES,
    *,
    chat_model: str | None = None,
    max_tokens: int | None = DEFAULT_MAX_TOKENS,
    context_tokens: int = DEFAULT_CONTEXT_TOKENS,
    min_score: float = DEFAULT_MIN_SCORE,
    filters: Mapping[str, str] | None = None,
    rerank: bool = False,
) -> KnowledgeAnswer:
    """Answer ``question`` from what ``collection`` holds.

    Args:
        k: passages given to the model; neighbours among them are joined.
        chat_model: None takes the port's default.
        max_tokens: longest answer; None leaves it to the engine.
        context_tokens: most tokens of all passages together.
        min_score: where no passage is as similar to the question, none is relevant and no model is asked.

    Raises:
        InvalidRequestError: an empty or overlong question.
        ConflictError: the embedding model that answers is not the one of the vectors.
        SageError: the models failed.
    """
    began = time.perf_counter()
    found = await find_passages(collection, question, models, k, filters=filters, rerank=rerank)
    searched = time.perf_counter()
    if not any(one.score is not None and one.score >= min_score for one in found):
        documents, _ = collection.counts()
        text = f"Nothing relevant to the question was found in {documents} document{'s' if documents != 1 else ''}."
        return KnowledgeAnswer(text, "", (), {"search": searched - began, "total": searched - began})
    passages = await asyncio.to_thread(refine, collection, found, context_tokens)
    messages = rag_messages(question.strip(), [prompt_passage(one) for one in passages])
    answer = await models.chat(messages, chat_model, max_tokens)
    ended = time.perf_counter()
    timings = {"search": searched - began, "answer": ended - searched, "total": ended - began}
    return KnowledgeAnswer(answer.text, answer.model, _sources(passages), timings)


def with_ingest(answer: KnowledgeAnswer, seconds: float, left_out: Sequence[tuple[str, str]]) -> KnowledgeAnswer:
    """Return ``answer`` with what came before it."""
    timings = {"ingest": seconds, **answer.timings, "total": seconds + answer.timings["total"]}
    return replace(answer, timings=timings, left_out=tuple(left_out))


def _checked(question: str) -> str:
    question = question.strip()
    if not question:
        raise InvalidRequestError("the question is empty; ask something", param="question")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InvalidRequestError(
            f"the question has {len(question)} characters, over the limit of {MAX_QUESTION_CHARACTERS}; shorten it",
            param="question",
        )
    return question


def prompt_passage(passage: Passage) -> PromptPassage:
    """Return a passage as a prompt has it, its document and headings as its label."""
    return PromptPassage(passage.text, label_of(passage.path, passage.heading))


def _sources(passages: Sequence[Passage]) -> tuple[AnswerSource, ...]:
    sources = []
    for number, one in enumerate(passages, start=1):
        text = " ".join(one.text.split())
        excerpt = text if len(text) <= _EXCERPT_CHARACTERS else f"{text[: _EXCERPT_CHARACTERS - 1].rstrip()}…"
        sources.append(
            AnswerSource(
                number,
                one.place,
                one.path,
                one.heading,
                one.score,
                excerpt,
                one.start,
                one.end,
                one.line,
                one.end_line,
                one.page,
            )
        )
    return tuple(sources)
