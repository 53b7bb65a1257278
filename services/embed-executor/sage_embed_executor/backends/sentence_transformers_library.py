"""Any model that the sentence-transformers library loads. Slower to start; the reference for the other backends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.backend import BackendEntry, Runtime, Vectors, pad
from sage_embed_executor.backends.torch_bert import device_exists
from sage_embed_executor.exports.export_form import Precision
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TokenIds

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BACKEND = BackendEntry(
    __name__, (Precision.FP32,), ("torch", "sentence_transformers"), "torch", reference=True, library=True
)


def supports(folder: ModelFolder, runtime: Runtime) -> str:
    """Return why this backend cannot run a model with ``runtime``; empty when it can."""
    # A model that the library refuses fails on loading.
    return "" if device_exists(runtime.device) else f"torch sees no device {runtime.device!r}"


def load(folder: ModelFolder, runtime: Runtime) -> SentenceTransformersBackend:
    """Load a model. Raises ConfigurationError when the library cannot."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    torch.set_num_threads(runtime.threads)
    transformers_logging.disable_progress_bar()
    try:
        model = SentenceTransformer(str(folder.path), device=runtime.device, local_files_only=True)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ConfigurationError(f"sentence-transformers cannot load {folder.path}: {error}") from None
    return SentenceTransformersBackend(model)


class SentenceTransformersBackend:
    """A model of the library that takes token ids."""

    def __init__(self, model: SentenceTransformer) -> None:
        import torch

        self._torch = torch
        self._model = model.eval()
        # Not every chain of modules states its dimensions; a vector shows them.
        self._dimensions = int(self.embed([np.array([0, 1], dtype=np.int32)]).shape[1])

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @property
    def description(self) -> str:
        return f"sentence-transformers, torch {self._torch.__version__} fp32 on {self._model.device}"

    def embed(self, batch: Sequence[TokenIds]) -> Vectors:
        torch = self._torch
        padded = pad(batch)
        ids = torch.from_numpy(padded.ids).to(self._model.device)
        mask = torch.from_numpy(padded.int_mask).to(self._model.device)
        with torch.inference_mode():
            output = self._model.forward({"input_ids": ids, "attention_mask": mask})
        vectors: Vectors = output["sentence_embedding"].float().cpu().numpy()
        return vectors
