"""An engine whose model runs in this process: it loads the model, warms it up, and answers requests with it."""

from __future__ import annotations

import asyncio
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from pydantic import StringConstraints

from sage_common.clock import Clock
from sage_common.errors import InternalError, SageError, UnavailableError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.engine_state import NAME_LABEL, EnginePhase, EngineSpec, ModelCard
from sage_embed_executor.backends.registry import AUTO
from sage_embed_executor.batching.embedding_executor import EmbeddingExecutor
from sage_embed_executor.batching.lanes import Urgency
from sage_embed_executor.batching.pending_embedding import EmbeddingResult
from sage_embed_executor.batching.vector_lru import VectorLru
from sage_embed_executor.engines.model_loader import LoadedModel, runtime_labels
from sage_embed_executor.engines.served_model import Responder, ServedModel
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.model_tokens import ModelTokens
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


class InProcessEngine(ABC):
    """Serves one model.

    Args:
        spec: with one model, as callers know it; limits and dimensions are added when it is loaded.
        load: loads the model; called once, on a thread.
        streams: batches computed at the same time.
        cache_bytes: bytes for cached vectors.
        measured: loads the model in the backend that is best by measurement, on a thread, while it is served as
            ``load`` has it; returns None where that is so already. None where nothing is measured.
        cancel_load: makes a running ``load`` or ``measured`` fail soon, for an engine that is stopped meanwhile.
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
        measured: Callable[[], LoadedModel | None] | None = None,
        cancel_load: Callable[[], None] | None = None,
    ) -> None:
        self._spec = spec
        self._load = load
        self._streams = streams
        self._cache_bytes = cache_bytes
        self._clock = clock
        self._metrics = metrics
        self._measured = measured
        self._cancel_load = cancel_load
        self._phase = EnginePhase.STARTING
        self._reason = "loading the model"
        self._serving: ServedModel | None = None
        self._tokens: ModelTokens | None = None
        self._measuring: asyncio.Task[None] | None = None

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    @property
    def phase(self) -> EnginePhase:
        return self._phase

    @property
    def reason(self) -> str:
        return self._reason

    @property
    def token_source(self) -> ModelTokens | None:
        """The loaded model's tokenizer."""
        return self._tokens

    async def start(self) -> None:
        """Load the model and warm it up, off the event loop. Raises SageError, with the phase UNHEALTHY."""
        began = self._clock.now()
        try:
            model = await asyncio.to_thread(self._load)
            loaded = self._clock.now()
            self._reason = "warming up"
            serving = await self._warmed_up(model)
        except SageError as error:
            self._fail(error)
            raise
        except Exception as error:
            failure = InternalError(f"the model could not be loaded: {type(error).__name__}: {error}")
            self._fail(failure)
            raise failure from error
        card = self._spec.models[0]
        if self._phase is EnginePhase.STOPPED:
            await serving.stop()
            raise UnavailableError(f"engine {self._spec.engine_id!r} was stopped", code="engine_not_ready")
        self._serve(model, serving)
        self._phase, self._reason = EnginePhase.READY, ""
        log.info(
            "model ready",
            model=card.name,
            folder=str(model.folder.path),
            **dict(self._spec.labels),
            load_seconds=round(loaded - began, 2),
            warm_up_seconds=round(self._clock.now() - loaded, 2),
        )
        if self._measured is not None:
            measuring = self._measure(self._measured, card)
            self._measuring = asyncio.create_task(measuring, name=f"measure-{self._spec.engine_id}")

    async def run(self, request: EngineRequest, reply: ReplyWriter) -> None:
        """Answer one request. Raises SageError; UnavailableError unless the engine is ready."""
        serving = self._ready()
        with serving.request():
            await serving.responder.respond(request, reply)

    async def stop(self) -> None:
        """Stop the streams and release the model."""
        self._phase, self._reason = EnginePhase.STOPPED, "stopped"
        if self._cancel_load is not None:
            self._cancel_load()
        if self._measuring is not None:
            await end_tasks(self._measuring)
        serving, self._serving = self._serving, None
        if serving is not None:
            await serving.stop()

    async def _measure(self, measured: Callable[[], LoadedModel | None], card: ModelCard) -> None:
        """Go over to the backend that is best by measurement. If that fails, the present one stays."""
        try:
            model = await asyncio.to_thread(measured)
            if model is None:
                return
            serving = await self._warmed_up(model)
        except SageError as error:
            log.warning("the backends could not be measured", model=card.name, error=error.message)
            return
        except Exception:
            log.exception("the backends could not be measured", model=card.name)
            return
        before = self._serve(model, serving, card)
        log.info("another backend serves the model", model=card.name, **dict(self._spec.labels))
        if before is not None:
            try:
                await before.idle()
            finally:
                await before.stop()

    async def _warmed_up(self, model: LoadedModel) -> ServedModel:
        executor = EmbeddingExecutor(
            model.backend,
            model.limits,
            self._streams,
            VectorLru(self._cache_bytes),
            self._clock,
            self._metrics,
            bulk_backend=model.bulk_backend,
            bulk_streams=model.bulk_streams,
        )
        executor.start()
        try:
            await executor.embed(_warm_up_inputs(model, self._streams, "warm"))
            if model.bulk_backend is not None:
                await executor.embed(_warm_up_inputs(model, model.bulk_streams, "bulk"), Urgency(bulk=True))
            return ServedModel(executor, self._make_responder(model, executor))
        except BaseException:
            await asyncio.shield(executor.stop())
            raise

    def _serve(self, model: LoadedModel, serving: ServedModel, card: ModelCard | None = None) -> ServedModel | None:
        """Have ``serving`` answer from now on; return what did before. ``card`` is the model's before it was loaded."""
        before, self._serving = self._serving, serving
        self._tokens = ModelTokens(model.tokenizer, model.folder.max_tokens)
        completed = _complete(card or self._spec.models[0], model)
        named = tuple((name, value) for name, value in self._spec.labels if name == NAME_LABEL)
        self._spec = replace(self._spec, models=(completed,), labels=(*named, *runtime_labels(model, self._streams)))
        settle_garbage_collector()
        return before

    @abstractmethod
    def _make_responder(self, model: LoadedModel, executor: EmbeddingExecutor) -> Responder:
        """Return what answers requests with a loaded model."""

    def _ready(self) -> ServedModel:
        if self._serving is None:
            raise UnavailableError(
                f"engine {self._spec.engine_id!r} is {self._phase.name.lower()}: {self._reason}",
                code="engine_not_ready",
                retryable=True,
            )
        return self._serving

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
