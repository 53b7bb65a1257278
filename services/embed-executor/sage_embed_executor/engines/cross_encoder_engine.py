"""Engine ``cross-encoder``: a model that reads query and document together and gives their relevance (rerank).

The pair travels through the same queues, cache and batches as an embedding input: the segment of a token is written
into a high bit of its id, and the "vector" is the model's one logit. Source: Nogueira and Cho, "Passage Re-ranking with
BERT" (arXiv 1901.04085); score and limits as the CrossEncoder of sentence-transformers has them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sage_common.clock import Clock
from sage_common.errors import ConfigurationError, InvalidRequestError
from sage_control_plane.request.request import Endpoint
from sage_embed_executor.backends.backend import EmbeddingBackend, Precision, Vectors, pad
from sage_embed_executor.batching.embedding_executor import EmbeddingExecutor
from sage_embed_executor.batching.lanes import urgency_of
from sage_embed_executor.engines.answering import Answers, usage_of
from sage_embed_executor.engines.in_process_engine import SentenceTransformersEngine
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.model_loader import LoadedModel
from sage_embed_executor.models.tokenizer import TextTokenizer, TokenIds
from sage_embed_executor.requests.input_limits import Tokenised
from sage_embed_executor.requests.rerank_request import RerankRequest, read_rerank_request, render_rerank
from sage_embed_executor.requests.tokenize_pool import TokenizePool
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.reply import Media

# Above every vocabulary, below the sign.
SEGMENT_SHIFT = 28
ID_MASK = (1 << SEGMENT_SHIFT) - 1
# What torch computes a sequence classifier with.
PRECISIONS = (Precision.FP32, Precision.BF16)


def with_segments(ids: TokenIds, segments: TokenIds) -> TokenIds:
    """Write each token's segment (0 to 7) into its id."""
    packed: TokenIds = ids | segments << SEGMENT_SHIFT
    return packed


class CrossEncoderEngine(SentenceTransformersEngine):
    """Serves one cross-encoder. Loading, streams and phases are those of an embedding model."""

    def _make_answers(self, model: LoadedModel, executor: EmbeddingExecutor) -> Answers:
        return RerankAnswers(
            self._spec.models[0].name, model.folder, model.tokenizer, executor, self._clock, self._metrics
        )


class RerankAnswers:
    """Rerank with a cross-encoder. Scores are between 0 and 1."""

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
        self._admission = TokenizePool(clock)

    async def answer(self, job: EngineRequest, reply: ReplyWriter) -> None:
        """Answer one request."""
        if job.endpoint is not Endpoint.RERANK:
            raise InvalidRequestError(
                f"model {self._name!r} ranks documents and has no vectors; use {Endpoint.RERANK.path}",
                code="wrong_endpoint_for_model",
                param="model",
            )
        urgency = urgency_of(job.classification, job.waited_seconds, self._clock.now())
        request = read_rerank_request(job.body, self._folder, self._tokenizer.pair_special_tokens)
        # The query is read once for each document.
        characters = request.characters + len(request.query) * (len(request.documents) - 1)
        tokenised = await self._admission.run(lambda: self._tokenise(request), characters, bulk=urgency.bulk)
        embedded = await self._executor.run(tokenised.value.inputs, urgency)
        logits = embedded.vectors[:, 0].astype(np.float64)
        scores: list[float] = (1 / (1 + np.exp(-logits))).tolist()
        reply.head(Media.JSON, model=self._name)
        reply.usage(usage_of(tokenised.value, tokenised.seconds, embedded, self._metrics))
        reply.data(render_rerank(request, scores, self._name, tokenised.value.tokens))

    def close(self) -> None:
        """End the tokenising threads."""
        self._admission.close()

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
        precision: one of PRECISIONS; the files' own does not count.
        device: ``cpu``, or a torch device such as ``cuda`` or ``cuda:1``.

    Raises:
        ConfigurationError: another kind of model, no such device, or a package is missing.
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
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError(
            f"torch sees no device {device!r}; set SAGE_EMBED_EXECUTOR_DEVICE=cpu, or install a CUDA build of torch"
        )
    torch.set_num_threads(threads)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
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
    """One logit for each pair, as a vector of one."""

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
