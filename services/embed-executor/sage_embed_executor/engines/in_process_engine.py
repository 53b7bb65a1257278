"""An engine whose model runs in this process: it loads the model, warms it up, and answers requests with it."""

from __future__ import annotations

import asyncio
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Protocol

import numpy as np
from annotated_types import Ge, Le
from pydantic import StringConstraints

from sage_common.clock import Clock
from sage_common.errors import InternalError, SageError, UnavailableError
from sage_common.logging import get_logger
from sage_control_plane.request.engine_state import NAME_LABEL, EnginePhase, EngineSpec, ModelCard
from sage_embed_executor.backends.registry import AUTO
from sage_embed_executor.batching.embedding_executor import EmbeddingExecutor
from sage_embed_executor.batching.lanes import Urgency
from sage_embed_executor.batching.pending_embedding import EmbeddingResult
from sage_embed_executor.batching.vector_lru import VectorLru
from sage_embed_executor.engines.model_loader import LoadedModel, runtime_labels
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.tokenizer import TokenIds
from sage_embed_executor.requests.input_limits import Tokenised
from sage_embed_executor.selection.backend_selection import BackendPreference
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.reply import EngineTime, TokenUsage
from sage_platform.process_tuning import settle_garbage_collector

log = get_logger(__name__)

# More one-thread streams than this wait for the interpreter's lock rather than for the processor.
MAX_AUTO_STREAMS = 4

LoadModel = Callable[[], LoadedModel]


@dataclass(frozen=True, slots=True)
class InProcessSettings:
    """Settings of the engines that run models in this process.

    Attributes:
        backend: how models run: torch, openvino, onnx, sentence-transformers; auto measures those that are installed.
        precision: numbers to compute with: fp32, bf16, int8; auto takes bf16 where it is faster, never int8.
        device: cpu, or cuda or cuda:N (backend torch).
        token_budget: most tokens in a batch, padding included; 0 measures the best.
        max_padding_share: most of a batch that may be padding.
        streams: batches computed at the same time; 0 takes the number of processors, up to 4.
        threads_per_stream: threads of one batch; 0 divides the processors between the streams.
        cache_bytes: bytes for vectors of texts seen before; 0 for none.
    """

    backend: str = AUTO
    precision: Annotated[str, StringConstraints(pattern="^(auto|fp32|bf16|int8)$")] = AUTO
    device: Annotated[str, StringConstraints(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    token_budget: Annotated[int, Ge(0)] = 0
    max_padding_share: Annotated[float, Ge(0), Le(1)] = 0.25
    streams: Annotated[int, Ge(0)] = 0
    threads_per_stream: Annotated[int, Ge(0)] = 0
    cache_bytes: Annotated[int, Ge(0)] = 64 * 1024 * 1024

    def backend_preference(self, processors: int) -> BackendPreference:
        """Return what these settings ask of the backend, with streams and threads for a number of processors."""
        streams, threads = self.stream_layout(processors)
        return BackendPreference(self.backend, self.precision, self.device, streams, threads, self.token_budget)

    def stream_layout(self, processors: int) -> tuple[int, int]:
        """Return the number of streams, and of the threads of each, for a number of processors.

        One-thread streams by default: two gave 1.2-1.4 times the throughput of one two-thread stream on two idle
        processors, and several times where other services compete, since a thread that is not running holds up its
        whole batch.
        """
        streams = self.streams or min(processors, MAX_AUTO_STREAMS)
        return streams, self.threads_per_stream or max(1, processors // streams)


def available_processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Responder(Protocol):
    """Answers requests with a loaded model."""

    async def respond(self, request: EngineRequest, reply: ReplyWriter) -> None:
        """Answer one request. Raises SageError."""
        ...

    def close(self) -> None:
        """Release what it holds beside the model."""
        ...


class InProcessEngine(ABC):
    """Serves one model.

    Args:
        spec: with one model, as callers know it; limits and dimensions are added when it is loaded.
        load: loads the model; called once, on a thread.
        streams: batches computed at the same time.
        cache_bytes: bytes for cached vectors.
        cancel_load: makes a running ``load`` fail soon, for an engine that is stopped meanwhile.
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
        cancel_load: Callable[[], None] | None = None,
    ) -> None:
        self._spec = spec
        self._load = load
        self._streams = streams
        self._cache_bytes = cache_bytes
        self._clock = clock
        self._metrics = metrics
        self._cancel_load = cancel_load
        self._phase = EnginePhase.STARTING
        self._reason = "loading the model; the first start measures the backends"
        self._responder: Responder | None = None
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
        """Load the model and warm it up, off the event loop. Raises SageError, with the phase UNHEALTHY."""
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
        self._responder = self._make_responder(model, executor)
        labels = runtime_labels(model, self._streams)
        self._spec = replace(
            self._spec,
            models=(_complete(self._spec.models[0], model),),
            labels=(*((name, value) for name, value in self._spec.labels if name == NAME_LABEL), *labels),
        )
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

    async def run(self, request: EngineRequest, reply: ReplyWriter) -> None:
        """Answer one request. Raises SageError; UnavailableError unless the engine is ready."""
        await self._ready().respond(request, reply)

    async def stop(self) -> None:
        """Stop the streams and release the model."""
        self._phase, self._reason = EnginePhase.STOPPED, "stopped"
        if self._cancel_load is not None:
            self._cancel_load()
        executor, self._executor, responder, self._responder = self._executor, None, self._responder, None
        if responder is not None:
            responder.close()
        if executor is not None:
            await executor.stop()

    @abstractmethod
    def _make_responder(self, model: LoadedModel, executor: EmbeddingExecutor) -> Responder:
        """Return what answers requests with a loaded model."""

    def _ready(self) -> Responder:
        if self._responder is None:
            raise UnavailableError(
                f"engine {self._spec.engine_id!r} is {self._phase.name.lower()}: {self._reason}",
                code="engine_not_ready",
                retryable=True,
            )
        return self._responder

    def _fail(self, error: SageError) -> None:
        self._phase, self._reason = EnginePhase.UNHEALTHY, error.message


def token_usage(
    tokenised: Tokenised, tokenize_seconds: float, result: EmbeddingResult, metrics: EmbedMetrics
) -> TokenUsage:
    """Return the tokens and times of a request, after adding them to the metrics."""
    metrics.tokenize_seconds.observe(tokenize_seconds)
    metrics.queue_seconds.observe(result.queue_seconds)
    metrics.inference_seconds.observe(result.inference_seconds)
    metrics.truncated.inc(tokenised.truncated)
    time = EngineTime(
        queue_us=int(result.queue_seconds * 1e6),
        tokenize_us=int(tokenize_seconds * 1e6),
        inference_us=int(result.inference_seconds * 1e6),
    )
    return TokenUsage(tokenised.tokens, truncated_inputs=tokenised.truncated, engine_time=time)


def _complete(card: ModelCard, model: LoadedModel) -> ModelCard:
    return replace(
        card,
        max_context_tokens=model.folder.max_tokens,
        dimensions=model.backend.dimensions,
        description=f"{card.description} ({model.backend.description})",
    )


def _warm_up_inputs(model: LoadedModel, streams: int, word: str) -> list[TokenIds]:
    """Return distinct inputs, different for each ``word``, for one full batch and one short text on every stream."""
    budget = model.limits.token_budget
    length = min(64, model.folder.max_tokens, budget)
    full = max(1, budget // length)
    short = model.tokenizer.encode([f"{word} {number}" for number in range(streams)], model.folder.max_tokens)
    start = zlib.crc32(word.encode()) % model.folder.vocabulary_size
    frame = [np.arange(start + number, start + number + length, dtype=np.int32) for number in range(full * streams)]
    return [*short, *(ids % model.folder.vocabulary_size for ids in frame)]
