"""The ``sentence-transformers`` engine: a model in this process, behind the executor's Engine interface."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sage_common.clock import Clock
from sage_common.errors import ConfigurationError, InternalError, SageError, UnavailableError
from sage_common.logging import get_logger
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, ModelCard
from sage_control_plane.request.request import RequestKind
from sage_embed_executor.batching.embedding_executor import EmbeddingExecutor
from sage_embed_executor.batching.lanes import Urgency
from sage_embed_executor.batching.vector_lru import VectorLru
from sage_embed_executor.engines.answering import Answers, EmbeddingAnswers
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.model_loader import LoadedModel, runtime_labels
from sage_embed_executor.models.tokenizer import TokenIds
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_platform.process_tuning import settle_garbage_collector

log = get_logger(__name__)

IMPLEMENTATION = "sentence-transformers"


LoadModel = Callable[[], LoadedModel]


class SentenceTransformersEngine:
    """Serves one embedding model.

    Args:
        card: the model as callers know it; limits and dimensions are added once it is loaded.
        load: loads the model; called once, on a thread.
        give_up: makes ``load`` fail soon, for when the engine is stopped first.
    """

    def __init__(
        self,
        spec: EngineSpec,
        load: LoadModel,
        streams: int,
        cache_bytes: int,
        clock: Clock,
        metrics: EmbedMetrics,
        *,
        give_up: Callable[[], None] | None = None,
    ) -> None:
        self._spec = spec
        self._load = load
        self._streams = streams
        self._cache_bytes = cache_bytes
        self._clock = clock
        self._metrics = metrics
        self._give_up = give_up
        self._phase = EnginePhase.STARTING
        self._reason = "loading the model; the first start measures the backends"
        self._answers: Answers | None = None
        self._executor: EmbeddingExecutor | None = None

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    @property
    def phase(self) -> EnginePhase:
        return self._phase

    @property
    def reason(self) -> str:
        return self._reason

    async def start(self) -> None:
        """Load the model and warm it up, off the event loop. Raises SageError; the phase is UNHEALTHY then."""
        began = self._clock.now()
        try:
            model = await asyncio.to_thread(self._load)
            loaded = self._clock.now()
            self._reason = "warming up"
            cache = VectorLru(self._cache_bytes)
            executor = EmbeddingExecutor(
                model.backend,
                model.limits,
                self._streams,
                cache,
                self._clock,
                self._metrics,
                bulk_backend=model.bulk_backend,
                bulk_streams=model.bulk_streams,
            )
            executor.start()
            self._executor = executor
            await executor.embed(_warm_up_inputs(model, self._streams, "warm"))
            if model.bulk_backend is not None:
                await executor.embed(_warm_up_inputs(model, model.bulk_streams, "bulk"), Urgency(bulk=True))
        except SageError as error:
            self._fail(error)
            raise
        except Exception as error:
            failure = InternalError(f"the model could not be loaded: {type(error).__name__}: {error}")
            self._fail(failure)
            raise failure from error
        self._answers = self._make_answers(model, executor)
        labels = runtime_labels(model, self._streams)
        self._spec = replace(self._spec, models=(_complete(self._spec.models[0], model),), labels=labels)
        settle_garbage_collector()
        self._phase, self._reason = EnginePhase.READY, ""
        log.info(
            "model ready",
            model=self._spec.models[0].name,
            folder=str(model.folder.path),
            **dict(labels),
            load_seconds=round(loaded - began, 2),
            warm_up_seconds=round(self._clock.now() - loaded, 2),
        )

    async def run(self, job: EngineRequest, reply: ReplyWriter) -> None:
        """Answer one embeddings or rerank request."""
        await self._ready().answer(job, reply)

    async def stop(self) -> None:
        """Stop the streams and let the model go."""
        self._phase, self._reason = EnginePhase.STOPPED, "stopped"
        if self._give_up is not None:
            self._give_up()
        executor, self._executor, answers, self._answers = self._executor, None, self._answers, None
        if answers is not None:
            answers.close()
        if executor is not None:
            await executor.stop()

    def _make_answers(self, model: LoadedModel, executor: EmbeddingExecutor) -> Answers:
        name = self._spec.models[0].name
        dimensions = model.backend.dimensions
        return EmbeddingAnswers(name, model.folder, model.tokenizer, dimensions, executor, self._clock, self._metrics)

    def _ready(self) -> Answers:
        if self._answers is None:
            raise UnavailableError(
                f"engine {self._spec.engine_id!r} is {self._phase.name.lower()}: {self._reason}",
                code="engine_not_ready",
                retryable=True,
            )
        return self._answers

    def _fail(self, error: SageError) -> None:
        self._phase, self._reason = EnginePhase.UNHEALTHY, error.message


def new_spec(
    engine_id: str, model: str, aliases: tuple[str, ...], pool: str, max_concurrency: int, description: str
) -> EngineSpec:
    """The spec of an engine before its model is loaded."""
    if not model:
        raise ConfigurationError("the embedding model has no name; set SAGE_EMBED_EXECUTOR_MODEL")
    card = ModelCard(model, frozenset({RequestKind.EMBEDDING, RequestKind.RERANK}), aliases, description=description)
    return EngineSpec(engine_id, IMPLEMENTATION, (card,), pool=pool, max_concurrency=max_concurrency)


def _complete(card: ModelCard, model: LoadedModel) -> ModelCard:
    return replace(
        card,
        max_context_tokens=model.folder.max_tokens,
        dimensions=model.backend.dimensions,
        description=f"{card.description} ({model.backend.description})",
    )


def _warm_up_inputs(model: LoadedModel, streams: int, word: str) -> list[TokenIds]:
    """Distinct inputs, others for each word, that make every stream compute one full batch and one short one."""
    budget = model.limits.token_budget
    length = min(64, model.folder.max_tokens, budget)
    full = max(1, budget // length)
    short = model.tokenizer.encode([f"{word} {number}" for number in range(streams)], model.folder.max_tokens)
    start = zlib.crc32(word.encode()) % model.folder.vocabulary_size
    frame = [np.arange(start + number, start + number + length, dtype=np.int32) for number in range(full * streams)]
    return [*short, *(ids % model.folder.vocabulary_size for ids in frame)]
