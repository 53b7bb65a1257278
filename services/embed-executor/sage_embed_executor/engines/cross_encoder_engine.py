"""Engine ``cross-encoder``: a model that reads query and document together and gives their relevance (rerank).

The pair travels through the same queues, cache and batches as an embedding input: the segment of a token is written
into a high bit of its id, and the "vector" is the model's one logit. Source: Nogueira and Cho, "Passage Re-ranking with
BERT" (arXiv 1901.04085); score and limits as the CrossEncoder of sentence-transformers has them.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence

import numpy as np

from sage_common.clock import Clock
from sage_common.errors import ConfigurationError, InvalidRequestError
from sage_control_plane.request.engine_state import ModelCard
from sage_control_plane.request.request import Endpoint, RequestKind
from sage_embed_executor.backends.backend import EmbeddingBackend, Vectors, pad
from sage_embed_executor.backends.registry import AUTO, check_backend_name
from sage_embed_executor.backends.torch_bert import device_exists
from sage_embed_executor.batching.embedding_executor import EmbeddingExecutor
from sage_embed_executor.batching.lanes import urgency_of
from sage_embed_executor.batching.length_aware_queue import BatchLimits
from sage_embed_executor.engines.engine_type import EmbeddingEngineType, EngineContext
from sage_embed_executor.engines.in_process_engine import (
    InProcessEngine,
    InProcessSettings,
    available_processors,
    token_usage,
)
from sage_embed_executor.engines.model_loader import LoadedModel
from sage_embed_executor.engines.served_model import Responder
from sage_embed_executor.exports.export_form import Precision
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.model_folder import ModelFolder, read_model_folder
from sage_embed_executor.models.tokenizer import TextTokenizer, TokenIds
from sage_embed_executor.models.weights import find_weights, short_name
from sage_embed_executor.requests.input_limits import Tokenised
from sage_embed_executor.requests.rerank_request import RerankRequest, read_rerank_request, render_rerank
from sage_embed_executor.requests.tokenize_pool import TokenizePool
from sage_embed_executor.selection.candidates import Candidate, Selection
from sage_mesh.engine import Engine, EngineRequest, ReplyWriter
from sage_mesh.reply import Media

NAME = "cross-encoder"
BACKEND = "torch"
# A cross-encoder is not measured at its start; this budget suits fp32.
DEFAULT_TOKEN_BUDGET = 512
# Above every vocabulary, below the sign.
SEGMENT_SHIFT = 28
ID_MASK = (1 << SEGMENT_SHIFT) - 1
# Those that torch computes a sequence classifier in.
PRECISIONS = (Precision.FP32, Precision.BF16)


def with_segments(ids: TokenIds, segments: TokenIds) -> TokenIds:
    """Write each token's segment (0 to 7) into its id."""
    packed: TokenIds = ids | segments << SEGMENT_SHIFT
    return packed


class CrossEncoderEngine(InProcessEngine):
    """Serves one cross-encoder."""

    def _make_responder(self, model: LoadedModel, executor: EmbeddingExecutor) -> Responder:
        name = self._spec.models[0].name
        return CrossEncoderResponder(name, model.folder, model.tokenizer, executor, self._clock, self._metrics)


def build(_own: None, context: EngineContext) -> list[Engine]:
    """Return one engine for each model. Raises ConfigurationError for a backend or precision that it does not have."""
    settings = context.settings.in_process()
    check_backend_name(settings.backend)
    if settings.backend not in (AUTO, BACKEND):
        raise ConfigurationError(
            f"the engine {NAME} runs models with {BACKEND} only, not {settings.backend}; "
            f"set SAGE_EMBED_EXECUTOR_BACKEND to {BACKEND} or {AUTO}"
        )
    precision = Precision.FP32 if settings.precision == AUTO else Precision(settings.precision)
    if precision not in PRECISIONS:
        known = " or ".join(one.value for one in PRECISIONS)
        raise ConfigurationError(
            f"the engine {NAME} does not compute in {precision.value}; set SAGE_EMBED_EXECUTOR_PRECISION to "
            f"{known}, or to {AUTO}, which is {Precision.FP32.value} here"
        )
    lock = threading.Lock()
    streams, threads = settings.stream_layout(available_processors())
    return [
        CrossEncoderEngine(
            context.spec(NAME, model, _card(model, context)),
            functools.partial(_load, settings, model, precision, threads, lock),
            streams,
            settings.cache_bytes,
            context.clock,
            context.metrics,
        )
        for model in context.settings.models
    ]


CROSS_ENCODER = EmbeddingEngineType(NAME, build)


def _card(model: str, context: EngineContext) -> ModelCard:
    return ModelCard(
        short_name(model),
        frozenset({RequestKind.RERANK}),
        context.aliases(model),
        description="cross-encoder, run by SAGE on this machine",
    )


def _load(
    settings: InProcessSettings, model: str, precision: Precision, threads: int, lock: threading.Lock
) -> LoadedModel:
    selection = Selection(Candidate(BACKEND, precision), settings.token_budget or DEFAULT_TOKEN_BUDGET)
    folder = read_model_folder(find_weights(model))
    # Loading sets process-wide defaults of torch for a while.
    with lock:
        backend = load_cross_encoder(folder, threads, precision, settings.device)
    limits = BatchLimits(selection.token_budget, settings.max_padding_share)
    return LoadedModel(folder, TextTokenizer.load(folder.path), backend, limits, selection)


class CrossEncoderResponder:
    """Answers rerank requests with a cross-encoder. Scores are between 0 and 1.

    Args:
        name: of the model, for the answers.
    """

    def __init__(
        self,
        name: str,
        folder: ModelFolder,
        tokenizer: TextTokenizer,
        executor: EmbeddingExecutor,
        clock: Clock,
        metrics: EmbedMetrics,
    ) -> None:
        self._name = name
        self._folder = folder
        self._tokenizer = tokenizer
        self._executor = executor
        self._clock = clock
        self._metrics = metrics
        self._tokenize_pool = TokenizePool(clock)

    async def respond(self, request: EngineRequest, reply: ReplyWriter) -> None:
        """Answer one request."""
        if request.endpoint is not Endpoint.RERANK:
            raise InvalidRequestError(
                f"model {self._name!r} ranks documents and has no vectors; use {Endpoint.RERANK.path}",
                code="wrong_endpoint_for_model",
                param="model",
            )
        urgency = urgency_of(request.classification, request.waited_seconds, self._clock.now())
        read = read_rerank_request(request.whole_body, self._folder, self._tokenizer.pair_special_tokens)
        # The query is tokenised once for each document.
        characters = read.characters + len(read.query) * (len(read.documents) - 1)
        tokenised = await self._tokenize_pool.run(lambda: self._tokenise(read), characters, bulk=urgency.bulk)
        result = await self._executor.run(tokenised.value.inputs, urgency)
        logits = result.vectors[:, 0].astype(np.float64)
        scores: list[float] = (1 / (1 + np.exp(-logits))).tolist()
        reply.head(Media.JSON, model=self._name)
        reply.usage(token_usage(tokenised.value, tokenised.seconds, result, self._metrics))
        reply.data(render_rerank(read, scores, self._name, tokenised.value.tokens))

    def close(self) -> None:
        """End the tokenising threads."""
        self._tokenize_pool.close()

    def _tokenise(self, request: RerankRequest) -> Tokenised:
        pairs = self._tokenizer.encode_pairs(request.query, request.documents, request.limits.max_tokens)
        counted = [(with_segments(ids, segments), whole) for ids, segments, whole in pairs]
        return request.limits.check(counted, "documents")


def load_cross_encoder(
    folder: ModelFolder, threads: int, precision: Precision = Precision.FP32, device: str = "cpu"
) -> EmbeddingBackend:
    """Load a sequence classifier with one label. Blocks.

    Args:
        threads: of one batch, on processors.
        precision: one of PRECISIONS, whatever the precision of the files.
        device: ``cpu``, or a torch device such as ``cuda`` or ``cuda:1``.

    Raises:
        ConfigurationError: the model is no cross-encoder, or the device or a package is missing.
    """
    try:
        import torch
        from transformers import AutoModelForSequenceClassification
        from transformers.utils import logging as transformers_logging
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the engine cross-encoder needs the package {error.name!r}; "
            "`pip install 'sage-embed-executor[torch]'` installs it",
            code="no_backend",
        ) from None
    if not device_exists(device):
        raise ConfigurationError(
            f"torch sees no device {device!r}; set SAGE_EMBED_EXECUTOR_DEVICE=cpu, or install a CUDA build of torch"
        )
    torch.set_num_threads(threads)
    transformers_logging.disable_progress_bar()
    try:
        model = AutoModelForSequenceClassification.from_pretrained(str(folder.path), local_files_only=True)
        labels = model.config.num_labels
        if labels != 1:
            raise ConfigurationError(f"{folder.path} has {labels} labels; a cross-encoder for ranking has one")
        dtype = torch.bfloat16 if precision is Precision.BF16 else torch.float32
        return CrossEncoder(model.to(device=device, dtype=dtype))
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"transformers cannot load {folder.path} as a cross-encoder on {device}: {error}"
        ) from None


class CrossEncoder:
    """A sequence classifier; its vectors are the logit of each pair, shape (pairs, 1)."""

    dimensions = 1

    def __init__(self, model: object) -> None:
        import torch

        self._torch = torch
        self._model = model.eval()  # type: ignore[attr-defined]
        self._device = self._model.device
        self._has_segments = int(getattr(self._model.config, "type_vocab_size", 0) or 0) > 1

    @property
    def description(self) -> str:
        precision = "bf16" if self._model.dtype is self._torch.bfloat16 else "fp32"
        return f"cross-encoder, torch {self._torch.__version__} {precision} on {self._device}"

    def embed(self, batch: Sequence[TokenIds]) -> Vectors:
        torch = self._torch
        padded = pad(batch)
        packed = torch.from_numpy(padded.ids).to(self._device)
        ids = packed & ID_MASK
        mask = torch.from_numpy(padded.int_mask).to(self._device)
        segments = {"token_type_ids": packed >> SEGMENT_SHIFT} if self._has_segments else {}
        with torch.inference_mode():
            logits = self._model(input_ids=ids, attention_mask=mask, **segments).logits
        vectors: Vectors = logits.float().cpu().numpy()
        return vectors
