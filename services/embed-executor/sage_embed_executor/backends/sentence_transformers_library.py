"""Any model that the sentence-transformers library loads. Slower to start; the reference for the other backends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.backend import Runtime, Vectors, pad
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TokenIds


def supports(folder: ModelFolder, runtime: Runtime) -> str:
    """Say why this backend cannot run a model so; empty when it can. What the library refuses shows on loading."""
    if runtime.device.startswith("cuda") and not torch.cuda.is_available():
        return f"torch sees no device {runtime.device!r}"
    return ""


def load(folder: ModelFolder, runtime: Runtime) -> SentenceTransformersBackend:
    """Load a model. Raises ConfigurationError when the library cannot."""
    torch.set_num_threads(runtime.threads)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = SentenceTransformer(str(folder.path), device=runtime.device, local_files_only=True)
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
        return f"sentence-transformers, torch {torch.__version__} fp32 on {self._model.device}"

    def embed(self, batch: Sequence[TokenIds]) -> Vectors:
        padded = pad(batch)
        ids = torch.from_numpy(padded.ids).to(self._model.device)
        mask = torch.from_numpy(padded.int_mask).to(self._model.device)
        with torch.inference_mode():
            output = self._model.forward({"input_ids": ids, "attention_mask": mask})
        vectors: Vectors = output["sentence_embedding"].float().cpu().numpy()
        return vectors
