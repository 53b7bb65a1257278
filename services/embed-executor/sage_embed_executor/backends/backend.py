"""What the executor needs of a backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sage_embed_executor.model_folder import ModelFolder
from sage_embed_executor.tokenizer import TokenIds

# Vectors of a batch, shape (texts, dimensions).
Vectors = npt.NDArray[np.float32]


class EmbeddingBackend(Protocol):
    """A loaded model. ``embed`` is called from several threads at once."""

    @property
    def dimensions(self) -> int:
        """Floats in a vector."""
        ...

    @property
    def description(self) -> str:
        """How it computes, for people, e.g. ``"torch fp32, oneDNN"``."""
        ...

    def embed(self, batch: Sequence[TokenIds]) -> Vectors:
        """Return the vectors of a batch in its order, shape (len(batch), dimensions), each as it would be alone."""
        ...


@dataclass(frozen=True, slots=True)
class Padded:
    """A batch as a rectangle.

    Attributes:
        ids: shape (texts, longest), int64; zeros where padded.
        mask: same shape, True on real tokens; None where nothing is padded.
    """

    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_] | None


class LoadBackend(Protocol):
    """Loads a model; each backend module has one, named ``load``. Blocks; raises SageError."""

    def __call__(self, folder: ModelFolder, threads: int) -> EmbeddingBackend: ...


def pad(batch: Sequence[TokenIds]) -> Padded:
    """Lay a batch out as a rectangle, padded on the right with zeros."""
    lengths = np.array([len(ids) for ids in batch])
    longest = int(lengths.max())
    if int(lengths.min()) == longest:
        return Padded(np.stack(batch).astype(np.int64), None)
    mask = np.arange(longest) < lengths[:, None]
    ids = np.zeros(mask.shape, dtype=np.int64)
    ids[mask] = np.concatenate(batch)
    return Padded(ids, mask)
