"""Answering a question from a folder of documents, as one pipeline: what ``sage ask`` runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sage_common.errors import InvalidRequestError, SageError
from sage_kernel.builder import Pipeline
from sage_kernel.model_port import ModelPort
from sage_kernel.operator import Record, Skipped
from sage_kernel.problems import NodeFailedError
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.runtime.progress import NodeCounts, RunResult
from sage_kernel.spec import PipelineSpec
from sage_libs.prompts import RAG_SYSTEM, RAG_TEMPLATE

DEFAULT_PASSAGES = 4
MAX_QUESTION_CHARACTERS = 8_000
_EXCERPT_CHARACTERS = 240


@dataclass(frozen=True)
class Source:
    """A passage that the answer was made from.

    Attributes:
        number: its number in the prompt and in the answer's ``[n]``, from 1.
        path: document, relative to the folder.
        title: the document's title, or empty.
        start: first character of the passage in the document's text.
        end: the character after its last.
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
        text: the model's answer.
        model: the model that wrote it.
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
    max_tokens: int | None = None,
    cache_dir: Path | None = None,
) -> RagAnswer:
    """Answer ``question`` from the documents (md, txt, html, pdf) under ``folder``.

    Args:
        k: passages given to the model.
        on_progress: called on the event loop whenever a count changes; it must not block.
        chat_model, embedding_model: None takes the mesh's default.
        max_tokens: longest answer; None leaves it to the engine.
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
    spec = rag_pipeline(question, folder, k, chat_model, embedding_model, max_tokens)
    counts: dict[str, NodeCounts] = {}

    def progressed(node: str, node_counts: NodeCounts) -> None:
        counts[node] = node_counts
        if on_progress is not None:
            on_progress(_progress(counts))

    try:
        result = await LocalRunner(models, cache_dir=cache_dir).run(spec, progressed)
    except NodeFailedError as error:
        # The caller did not build these nodes, so the cause says more than the node's name.
        if isinstance(error.cause, SageError):
            raise error.cause from None
        raise
    return _answer(result)


def rag_pipeline(
    question: str,
    folder: Path,
    k: int = DEFAULT_PASSAGES,
    chat_model: str | None = None,
    embedding_model: str | None = None,
    max_tokens: int | None = None,
) -> PipelineSpec:
    """Return the pipeline that answers ``question``. Raises PipelineInvalidError for ``k`` below 1."""
    pipeline = Pipeline("ask")
    pipeline.source(f"folder:{folder}", id="documents").chunk(id="chunks").embed(
        "{text}", id="vectors", model=embedding_model, cache="documents"
    ).index("passages")
    asked = pipeline.source(records=[{"question": question}], id="question")
    found = asked.embed("{question}", id="question_vector", model=embedding_model).retrieve(
        "passages", id="search", k=k
    )
    found.llm(RAG_TEMPLATE, id="answer", system=RAG_SYSTEM, model=chat_model, max_tokens=max_tokens).sink(
        "collection:answers", id="answers", fields=["answer", "answer_model", "context"]
    )
    return pipeline.build()


def _progress(counts: Mapping[str, NodeCounts]) -> RagProgress:
    none = NodeCounts()
    return RagProgress(
        documents=counts.get("documents", none).records_out,
        chunks=counts.get("chunks", none).records_out,
        embedded=counts.get("vectors", none).records_out,
        answering=counts.get("answer", none).records_in > 0,
    )


def _answer(result: RunResult) -> RagAnswer:
    (record,) = result.collections["answers"]
    timings = {node: counts.busy_seconds for node, counts in result.counts.items() if counts.busy_seconds > 0}
    return RagAnswer(
        text=record["answer"],
        model=record["answer_model"],
        sources=tuple(_source(number, hit) for number, hit in enumerate(record["context"], start=1)),
        timings={**timings, "total": result.seconds},
        counts=result.counts,
        skipped=tuple(result.skipped),
        warnings=tuple(message for _, message in result.warnings),
    )


def _source(number: int, hit: Record) -> Source:
    text = " ".join(hit["text"].split())
    excerpt = text if len(text) <= _EXCERPT_CHARACTERS else f"{text[: _EXCERPT_CHARACTERS - 1].rstrip()}…"
    return Source(number, hit["path"], hit["title"], hit["start"], hit["end"], hit["score"], excerpt)
