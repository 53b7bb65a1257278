"""A sentence-transformers model as one torch module that can be traced: ids and mask in, vectors out."""

from __future__ import annotations

import warnings

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from sage_common.errors import ConfigurationError
from sage_embed_executor.models.model_folder import ModelFolder

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "sentence_embedding"


class Traceable(torch.nn.Module):
    """Every module of the model in its order: encoder, pooling, normalisation and any other that its files name."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        vectors: Tensor = self.model({"input_ids": input_ids, "attention_mask": attention_mask})[OUTPUT]
        return vectors


def traceable(folder: ModelFolder) -> tuple[Traceable, tuple[Tensor, Tensor]]:
    """Return the module and an example of its inputs: rows of several lengths, so that no mask is optimised away."""
    # The frameworks' warnings on tracing are noise in the log.
    warnings.simplefilter("ignore")
    try:
        model = SentenceTransformer(str(folder.path), device="cpu", local_files_only=True)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ConfigurationError(f"sentence-transformers cannot load {folder.path}: {error}") from None
    mask = (torch.arange(11) < torch.tensor([[11], [7], [3]])).long()
    ids = (torch.arange(33).view(3, 11) % folder.vocabulary_size) * mask
    return Traceable(model.float().eval()), (ids, mask)
