"""Any model that the sentence-transformers library loads. Slower to start; the reference for the other backends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.backend import Vectors, pad
from sage_embed_executor.model_folder import ModelFolder
from sage_embed_executor.tokenizer import TokenIds


def supports(folder: ModelFolder) -> str:
    """Say why this backend cannot run a model; empty when it can. What the library refuses shows on loading."""
    return ""


def load(folder: ModelFolder, threads: int) -> SentenceTransformersBackend:
    """Load a model for calls of ``threads`` threads each. Raises ConfigurationError when the library cannot."""
    torch.set_num_threads(threads)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = SentenceTransformer(str(folder.path), device="cpu", local_files_only=True)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ConfigurationError(f"sentence-transformers cannot load {folder.path}: {error}") from None
    return SentenceTransformersBackend(model)


class SentenceTransformersBackend:
    """A model of the library, fed with token ids."""

    def __init__(self, model: SentenceTransformer) -> None:
        self._model = model.eval()
        # Not every chain of modules states its dimensions; a vector shows them.
        self._dimensions = int(self.embed([np.array([0, 1], dtype=np.int32)]).shape[1])

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @property
    def description(self) -> str:
        return f"sentence-transformers, torch {torch.__version__}"

    def embed(self, batch: Sequence[TokenIds]) -> Vectors:
        padded = pad(batch)
        ids = torch.from_numpy(padded.ids)
        mask = torch.ones_like(ids) if padded.mask is None else torch.from_numpy(padded.mask).long()
        with torch.inference_mode():
            output = self._model.forward({"input_ids": ids, "attention_mask": mask})
        vectors: Vectors = output["sentence_embedding"].float().numpy()
        return vectors
