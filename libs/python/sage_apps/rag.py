"""Answering a question from a folder of documents, as one pipeline: what ``sage ask`` runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sage_common.errors import InvalidRequestError, SageError
from sage_kernel.builder import Pipeline
from sage_kernel.model_port import ModelPort
from sage_kernel.operator import Record
from sage_kernel.problems import NodeFailedError
from sage_kernel.run_context import Skipped
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.runtime.progress import NodeCounts, RunResult
from sage_kernel.spec import PipelineSpec
from sage_libs.prompts import RAG_SYSTEM, RAG_TEMPLATE

DEFAULT_PASSAGES = 4
MAX_QUESTION_CHARACTERS = 8_000
# Of the answer: a model that goes on and on costs time, and says no more.
DEFAULT_MAX_TOKENS = 512
# Cosine similarity of MiniLM. Passages about something else come to 0.0 to 0.2, those that answer to 0.3 and more.
DEFAULT_MIN_SCORE = 0.2
_EXCERPT_CHARACTERS = 240
_HIT_FIELDS = ("path", "title", "text", "start", "end", "line", "end_line", "page", "score")


@dataclass(frozen=True)
class Source:
    """A passage that the answer was made from.

    Attributes:
        number: its number in the prompt and in the answer's ``[n]``, from 1.
        path: document, relative to the folder.
        title: the document's title, or empty.
        start: first character of the passage in the document's text.
        end: the character after its last.
        line, end_line: first and last line of the passage in that text, from 1.
        page: the page that it begins on, from 1; None where the document has no pages.
        score: cosine similarity to the question.
        excerpt: how the passage begins, on one line.
    """

    number: int
    path: str
    title: str
    start: int
    end: int
    score: float
    excerpt: str
    line: int
    end_line: int
    page: int | None

    @property
    def place(self) -> str:
        """Where to look: the document with the page, or the lines."""
        if self.page is not None:
            return f"{self.path}, page {self.page}"
        lines = f"{self.line}" if self.line == self.end_line else f"{self.line}-{self.end_line}"
        return f"{self.path}:{lines}"


@dataclass(frozen=True)
class RagProgress:
    """How far a question has come.

    Attributes:
        documents: documents read so far.
        chunks: chunks made so far.
        embedded: chunks that have their vectors.
        answering: whether the model has been asked.
    """

    documents: int
    chunks: int
    embedded: int
    answering: bool


@dataclass(frozen=True)
class RagAnswer:
    """An answer with what it rests on.

    Attributes:
        text: the model's answer; that nothing relevant was found where that is so.
        model: the model that wrote it; empty where none was asked.
        sources: the passages it was given, best first.
        timings: seconds by stage, calls that ran at once added up, and ``total`` by the clock.
        counts: records by node of the pipeline.
        skipped: files that were left out, and why.
        warnings: what went wrong without harm to the answer.
    """

    text: str
    model: str
    sources: tuple[Source, ...]
    timings: Mapping[str, float]
    counts: Mapping[str, NodeCounts]
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]


async def answer_question(
    question: str,
    folder: Path,
    models: ModelPort,
    k: int = DEFAULT_PASSAGES,
    on_progress: Callable[[RagProgress], None] | None = None,
    *,
    chat_model: str | None = None,
    embedding_model: str | None = None,
    max_tokens: int | None = DEFAULT_MAX_TOKENS,
    min_score: float = DEFAULT_MIN_SCORE,
    cache_dir: Path | None = None,
) -> RagAnswer:
    """Answer ``question`` from the documents (md, rst, txt, html, pdf) under ``folder``, or from the one that it names.

    Args:
        k: passages given to the model.
        on_progress: called on the event loop whenever a count changes; it must not block.
        chat_model, embedding_model: None takes the mesh's default.
        max_tokens: longest answer; None leaves it to the engine.
        min_score: where no passage is as similar to the question, none is relevant and no model is asked.
        cache_dir: where vectors are kept, so that the next question embeds only what has changed; None keeps nothing.

    Raises:
        InvalidRequestError: an empty or overlong question.
        NotFoundError: no such folder.
        UnprocessableError: no document in it could be read.
        SageError: the models failed.
    """
    question = question.strip()
    if not question:
        raise InvalidRequestError("the question is empty; ask something", param="question")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InvalidRequestError(
            f"the question has {len(question)} characters, over the limit of {MAX_QUESTION_CHARACTERS}; shorten it",
            param="question",
        )
    search = search_pipeline(question, folder, k, embedding_model)
    counts: dict[str, NodeCounts] = {}

    def progressed(node: str, node_counts: NodeCounts) -> None:
        counts[node] = node_counts
        if on_progress is not None:
            on_progress(_progress(counts))

    runner = LocalRunner(models, cache_dir=cache_dir)
    try:
        found = await runner.run(search, progressed)
        (record,) = found.collections["found"]
        if not any(hit["score"] >= min_score for hit in record["context"]):
            return _nothing_found(found)
        return _answer(found, await runner.run(answer_pipeline(record, chat_model, max_tokens), progressed))
    except NodeFailedError as error:
        # The caller did not build these nodes, so the cause says more than the node's name.
        if isinstance(error.cause, SageError):
            raise error.cause from None
        raise


def search_pipeline(
    question: str,
    folder: Path,
    k: int = DEFAULT_PASSAGES,
    embedding_model: str | None = None,
) -> PipelineSpec:
    """Return the pipeline that finds passages for ``question``. Raises PipelineInvalidError for ``k`` below 1."""
    pipeline = Pipeline("ask")
    pipeline.source(f"folder:{folder}", id="documents").chunk(id="chunks").embed(
        "{text}", id="vectors", model=embedding_model, cache="documents"
    ).index("passages")
    asked = pipeline.source(records=[{"question": question}], id="question")
    asked.embed("{question}", id="question_vector", model=embedding_model).retrieve("passages", id="search", k=k).sink(
        "collection:found", id="found", fields=["question", "context"]
    )
    return pipeline.build()


def answer_pipeline(found: Record, chat_model: str | None = None, max_tokens: int | None = None) -> PipelineSpec:
    """Return the pipeline that answers a question from the passages that ``search_pipeline`` found for it."""
    hits = [{name: hit[name] for name in _HIT_FIELDS} for hit in found["context"]]
    pipeline = Pipeline("answer")
    pipeline.source(records=[{"question": found["question"], "context": hits}], id="passages_found").llm(
        RAG_TEMPLATE, id="answer", system=RAG_SYSTEM, model=chat_model, max_tokens=max_tokens
    ).sink("collection:answers", id="answers", fields=["answer", "answer_model", "context"])
    return pipeline.build()


def _progress(counts: Mapping[str, NodeCounts]) -> RagProgress:
    none = NodeCounts()
    return RagProgress(
        documents=counts.get("documents", none).records_out,
        chunks=counts.get("chunks", none).records_out,
        embedded=counts.get("vectors", none).records_out,
        answering=counts.get("answer", none).records_in > 0,
    )


def _answer(found: RunResult, answered: RunResult) -> RagAnswer:
    (record,) = answered.collections["answers"]
    return RagAnswer(
        text=record["answer"],
        model=record["answer_model"],
        sources=tuple(_source(number, hit) for number, hit in enumerate(record["context"], start=1)),
        **_of_runs(found, answered),
    )


def _nothing_found(found: RunResult) -> RagAnswer:
    documents = found.counts["documents"].records_out
    text = f"Nothing relevant to the question was found in {documents} document{'s' if documents != 1 else ''}."
    return RagAnswer(text=text, model="", sources=(), **_of_runs(found))


def _of_runs(*runs: RunResult) -> dict[str, Any]:
    counts = {node: counts for run in runs for node, counts in run.counts.items()}
    timings = {node: count.busy_seconds for node, count in counts.items() if count.busy_seconds > 0}
    return {
        "timings": {**timings, "total": sum(run.seconds for run in runs)},
        "counts": counts,
        "skipped": tuple(skipped for run in runs for skipped in run.skipped),
        "warnings": tuple(message for run in runs for _, message in run.warnings),
    }


def _source(number: int, hit: Record) -> Source:
    text = " ".join(hit["text"].split())
    excerpt = text if len(text) <= _EXCERPT_CHARACTERS else f"{text[: _EXCERPT_CHARACTERS - 1].rstrip()}…"
    place = (hit["line"], hit["end_line"], hit["page"])
    return Source(number, hit["path"], hit["title"], hit["start"], hit["end"], hit["score"], excerpt, *place)
