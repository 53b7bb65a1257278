"""The ``sentence-transformers`` engine: a model in this process, behind the executor's Engine interface."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sage_common.clock import Clock
from sage_common.errors import ConfigurationError, InternalError, SageError, UnavailableError
from sage_common.logging import get_logger
from sage_control_plane.batching import BatchLimits
from sage_control_plane.engines import EnginePhase, EngineSpec, ModelCard
from sage_control_plane.requests import RequestKind
from sage_embed_executor.answering import Answers, EmbeddingAnswers
from sage_embed_executor.backends.backend import EmbeddingBackend
from sage_embed_executor.embedding_executor import EmbeddingExecutor
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.model_folder import ModelFolder
from sage_embed_executor.tokenizer import TextTokenizer, TokenIds
from sage_embed_executor.vector_lru import VectorLru
from sage_mesh.engine_host import EngineJob, ReplyWriter

log = get_logger(__name__)

IMPLEMENTATION = "sentence-transformers"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to use."""

    folder: ModelFolder
    tokenizer: TextTokenizer
    backend: EmbeddingBackend


LoadModel = Callable[[], LoadedModel]


class SentenceTransformersEngine:
    """Serves one embedding model.

    Args:
        card: the model as callers know it; limits and dimensions are added once it is loaded.
        load: loads the model; called once, on a thread.
    """

    def __init__(
        self,
        spec: EngineSpec,
        load: LoadModel,
        limits: BatchLimits,
        streams: int,
        cache_bytes: int,
        clock: Clock,
        metrics: EmbedMetrics,
    ) -> None:
        self._spec = spec
        self._load = load
        self._limits = limits
        self._streams = streams
        self._cache_bytes = cache_bytes
        self._clock = clock
        self._metrics = metrics
        self._phase = EnginePhase.STARTING
        self._reason = "loading the model"
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
            executor = EmbeddingExecutor(
                model.backend, self._limits, self._streams, VectorLru(self._cache_bytes), self._clock, self._metrics
            )
            executor.start()
            self._executor = executor
            await executor.embed(_warm_up_inputs(model, self._limits, self._streams))
        except SageError as error:
            self._fail(error)
            raise
        except Exception as error:
            failure = InternalError(f"the model could not be loaded: {type(error).__name__}: {error}")
            self._fail(failure)
            raise failure from error
        self._answers = self._make_answers(model, executor)
        self._spec = replace(self._spec, models=(_complete(self._spec.models[0], model),))
        self._phase, self._reason = EnginePhase.READY, ""
        log.info(
            "model ready",
            model=self._spec.models[0].name,
            folder=str(model.folder.path),
            backend=model.backend.description,
            streams=self._streams,
            load_seconds=round(loaded - began, 2),
            warm_up_seconds=round(self._clock.now() - loaded, 2),
        )

    async def run(self, job: EngineJob, reply: ReplyWriter) -> None:
        """Answer one embeddings or rerank request."""
        await self._ready().answer(job, reply)

    async def stop(self) -> None:
        """Stop the streams and let the model go."""
        self._phase, self._reason = EnginePhase.STOPPED, "stopped"
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
    return replace(card, max_context_tokens=model.folder.max_tokens, dimensions=model.backend.dimensions)


def _warm_up_inputs(model: LoadedModel, limits: BatchLimits, streams: int) -> list[TokenIds]:
    """Distinct inputs that make every stream compute one full batch and one short one."""
    length = min(64, model.folder.max_tokens, limits.token_budget)
    full = max(1, limits.token_budget // length)
    short = model.tokenizer.encode([f"warm {number}" for number in range(streams)], model.folder.max_tokens)
    frame = [np.arange(number, number + length, dtype=np.int32) for number in range(full * streams)]
    return [*short, *(ids % model.folder.vocabulary_size for ids in frame)]
