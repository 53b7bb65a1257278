"""Engine ``sentence-transformers``: an embedding model in this process. It embeds, and ranks by similarity."""

from __future__ import annotations

import threading

import numpy as np

from sage_common.clock import Clock
from sage_common.errors import ConfigurationError
from sage_control_plane.request.engine_state import ModelCard
from sage_control_plane.request.request import Endpoint, RequestKind
from sage_embed_executor.backends.backend import Vectors
from sage_embed_executor.backends.registry import check_backend_name
from sage_embed_executor.batching.embedding_executor import EmbeddingExecutor
from sage_embed_executor.batching.lanes import urgency_of
from sage_embed_executor.engines.engine_type import EmbeddingEngineType, EngineContext
from sage_embed_executor.engines.in_process_engine import (
    InProcessEngine,
    available_processors,
    token_usage,
)
from sage_embed_executor.engines.model_loader import LoadedModel, ModelLoader
from sage_embed_executor.engines.served_model import Responder
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TextTokenizer
from sage_embed_executor.models.weights import short_name
from sage_embed_executor.requests.embedding_request import read_embedding_request
from sage_embed_executor.requests.input_limits import Tokenised
from sage_embed_executor.requests.rerank_request import RerankRequest, prompted, read_rerank_request, render_rerank
from sage_embed_executor.requests.tokenize_pool import TokenizePool
from sage_mesh.engine import Engine, EngineRequest, ReplyWriter
from sage_mesh.reply import Media

NAME = "sentence-transformers"


class SentenceTransformersEngine(InProcessEngine):
    """Serves one embedding model."""

    def _make_responder(self, model: LoadedModel, executor: EmbeddingExecutor) -> Responder:
        name = self._spec.models[0].name
        dimensions = model.backend.dimensions
        return EmbeddingResponder(name, model.folder, model.tokenizer, dimensions, executor, self._clock, self._metrics)


def new_card(model: str, aliases: tuple[str, ...]) -> ModelCard:
    """Return the card of a model before it is loaded. Raises ConfigurationError for a model without a name."""
    if not model:
        raise ConfigurationError("the embedding model has no name; set SAGE_EMBED_EXECUTOR_MODEL")
    kinds = frozenset({RequestKind.EMBEDDING, RequestKind.RERANK})
    return ModelCard(model, kinds, aliases, description="embedding model, run by SAGE on this machine")


def build(_own: None, context: EngineContext) -> list[Engine]:
    """Return one engine for each model. Raises ConfigurationError for an unknown backend."""
    settings = context.settings.in_process()
    check_backend_name(settings.backend)
    preference = settings.backend_preference(available_processors())
    lock = threading.Lock()
    engines: list[Engine] = []
    for model in context.settings.models:
        loader = ModelLoader(model, preference, settings.max_padding_share, lock)
        engines.append(
            SentenceTransformersEngine(
                context.spec(NAME, model, new_card(short_name(model), context.aliases(model))),
                loader.load,
                preference.streams,
                settings.cache_bytes,
                context.clock,
                context.metrics,
                measured=loader.measured,
                cancel_load=loader.cancel,
            )
        )
    return engines


SENTENCE_TRANSFORMERS = EmbeddingEngineType(NAME, build)


class EmbeddingResponder:
    """Answers embeddings requests, and rerank requests by the cosine of embeddings.

    Args:
        name: of the model, for the answers.
        dimensions: floats in the model's vectors.
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
        self._tokenize_pool = TokenizePool(clock)

    async def respond(self, request: EngineRequest, reply: ReplyWriter) -> None:
        """Answer one request."""
        if request.endpoint is Endpoint.RERANK:
            await self._rerank(request, reply)
        else:
            await self._embed(request, reply)

    def close(self) -> None:
        """End the tokenising threads."""
        self._tokenize_pool.close()

    async def _embed(self, request: EngineRequest, reply: ReplyWriter) -> None:
        urgency = urgency_of(request.classification, request.waited_seconds, self._clock.now())
        body, special_tokens = request.whole_body, self._tokenizer.special_tokens
        read = read_embedding_request(body, self._folder, special_tokens, self._dimensions)
        tokenised = await self._tokenize_pool.run(
            lambda: read.tokenise(self._tokenizer), read.characters, bulk=urgency.bulk
        )
        result = await self._executor.run(tokenised.value.inputs, urgency)
        vectors = result.vectors
        if read.dimensions:
            vectors = vectors[:, : read.dimensions]
        if read.normalise:
            vectors = normalised(vectors)
        reply.head(
            Media.VECTORS_BASE64 if read.base64 else Media.VECTORS_FLOAT,
            model=self._name,
            vector_count=vectors.shape[0],
            vector_dimensions=vectors.shape[1],
        )
        reply.usage(token_usage(tokenised.value, tokenised.seconds, result, self._metrics))
        reply.data(vectors.astype("<f4", copy=False).tobytes())

    async def _rerank(self, request: EngineRequest, reply: ReplyWriter) -> None:
        urgency = urgency_of(request.classification, request.waited_seconds, self._clock.now())
        read = read_rerank_request(request.whole_body, self._folder, self._tokenizer.special_tokens)
        tokenised = await self._tokenize_pool.run(
            lambda: self._tokenise_rerank(read), read.characters, bulk=urgency.bulk
        )
        result = await self._executor.run(tokenised.value.inputs, urgency)
        vectors = normalised(result.vectors)
        scores: list[float] = (vectors[1:] @ vectors[0]).tolist()
        reply.head(Media.JSON, model=self._name)
        reply.usage(token_usage(tokenised.value, tokenised.seconds, result, self._metrics))
        reply.data(render_rerank(read, scores, self._name, tokenised.value.tokens))

    def _tokenise_rerank(self, request: RerankRequest) -> Tokenised:
        query, documents = prompted(request, self._folder.prompts)
        limits = request.limits
        counted = self._tokenizer.encode_counted([query, *documents], limits.max_tokens, limits.side or "right")
        limits.check(counted[:1], "query")
        limits.check(counted[1:], "documents")
        return limits.check(counted, "documents")


def normalised(vectors: Vectors) -> Vectors:
    """Return vectors scaled to length 1, shape (texts, dimensions); a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32, copy=False)
