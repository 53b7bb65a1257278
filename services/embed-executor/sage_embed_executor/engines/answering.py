"""From a request's body to its answer, on a loaded model."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from sage_common.clock import Clock
from sage_control_plane.request.request import Endpoint
from sage_embed_executor.backends.backend import Vectors
from sage_embed_executor.batching.embedding_executor import EmbeddingExecutor
from sage_embed_executor.batching.lanes import urgency_of
from sage_embed_executor.batching.pending_embedding import EmbeddingResult
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TextTokenizer
from sage_embed_executor.requests.embedding_request import read_embedding_request
from sage_embed_executor.requests.input_limits import Tokenised
from sage_embed_executor.requests.rerank_request import RerankRequest, prompted, read_rerank_request, render_rerank
from sage_embed_executor.requests.tokenize_pool import TokenizePool
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.reply import EngineTime, Media, TokenUsage


class Answers(Protocol):
    """Answers requests with a loaded model."""

    async def answer(self, job: EngineRequest, reply: ReplyWriter) -> None:
        """Answer one request. Raises SageError."""
        ...

    def close(self) -> None:
        """Release what it holds beside the model."""
        ...


class EmbeddingAnswers:
    """Embeddings, and rerank by the similarity of embeddings.

    Args:
        name: the model's, for the answers.
    """

    def __init__(
        self,
        name: str,
        folder: ModelFolder,
        tokenizer: TextTokenizer,
        dimensions: int,
        executor: EmbeddingExecutor,
        clock: Clock,
        metrics: EmbedMetrics,
    ) -> None:
        self._name = name
        self._folder = folder
        self._tokenizer = tokenizer
        self._dimensions = dimensions
        self._executor = executor
        self._clock = clock
        self._metrics = metrics
        self._admission = TokenizePool(clock)

    async def answer(self, job: EngineRequest, reply: ReplyWriter) -> None:
        """Answer one request."""
        if job.endpoint is Endpoint.RERANK:
            await self._rerank(job, reply)
        else:
            await self._embed(job, reply)

    def close(self) -> None:
        """End the tokenising threads."""
        self._admission.close()

    async def _embed(self, job: EngineRequest, reply: ReplyWriter) -> None:
        urgency = urgency_of(job.classification, job.waited_seconds, self._clock.now())
        request = read_embedding_request(job.body, self._folder, self._tokenizer.special_tokens, self._dimensions)
        tokenised = await self._admission.run(
            lambda: request.tokenise(self._tokenizer), request.characters, bulk=urgency.bulk
        )
        embedded = await self._executor.run(tokenised.value.inputs, urgency)
        vectors = embedded.vectors
        if request.dimensions:
            vectors = vectors[:, : request.dimensions]
        if request.normalise:
            vectors = normalised(vectors)
        reply.head(
            Media.VECTORS_BASE64 if request.base64 else Media.VECTORS_FLOAT,
            model=self._name,
            vector_count=vectors.shape[0],
            vector_dimensions=vectors.shape[1],
        )
        reply.usage(usage_of(tokenised.value, tokenised.seconds, embedded, self._metrics))
        reply.data(vectors.astype("<f4", copy=False).tobytes())

    async def _rerank(self, job: EngineRequest, reply: ReplyWriter) -> None:
        urgency = urgency_of(job.classification, job.waited_seconds, self._clock.now())
        request = read_rerank_request(job.body, self._folder, self._tokenizer.special_tokens)
        tokenised = await self._admission.run(
            lambda: self._tokenise_rerank(request), request.characters, bulk=urgency.bulk
        )
        embedded = await self._executor.run(tokenised.value.inputs, urgency)
        vectors = normalised(embedded.vectors)
        scores: list[float] = (vectors[1:] @ vectors[0]).tolist()
        reply.head(Media.JSON, model=self._name)
        reply.usage(usage_of(tokenised.value, tokenised.seconds, embedded, self._metrics))
        reply.data(render_rerank(request, scores, self._name, tokenised.value.tokens))

    def _tokenise_rerank(self, request: RerankRequest) -> Tokenised:
        query, documents = prompted(request, self._folder.prompts)
        limits = request.limits
        counted = self._tokenizer.encode_counted([query, *documents], limits.max_tokens, limits.side or "right")
        limits.check(counted[:1], "query")
        limits.check(counted[1:], "documents")
        return limits.check(counted, "documents")


def usage_of(tokenised: Tokenised, seconds: float, embedded: EmbeddingResult, metrics: EmbedMetrics) -> TokenUsage:
    """What a request took, counted and observed."""
    metrics.tokenize_seconds.observe(seconds)
    metrics.queue_seconds.observe(embedded.queue_seconds)
    metrics.inference_seconds.observe(embedded.inference_seconds)
    metrics.truncated.inc(tokenised.truncated)
    time = EngineTime(
        queue_us=int(embedded.queue_seconds * 1e6),
        tokenize_us=int(seconds * 1e6),
        inference_us=int(embedded.inference_seconds * 1e6),
    )
    return TokenUsage(tokenised.tokens, truncated_inputs=tokenised.truncated, engine_time=time)


def normalised(vectors: Vectors) -> Vectors:
    """Bring each vector to length 1; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)
