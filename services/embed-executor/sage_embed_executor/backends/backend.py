"""What the executor needs of a backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sage_embed_executor.child_process import ChildRunner
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TokenIds

# Vectors of a batch, shape (texts, dimensions).
Vectors = npt.NDArray[np.float32]


class Precision(str, Enum):
    """The numbers that a model computes with; vectors leave as float32 all the same."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True)
class Runtime:
    """How a backend is to run a model.

    Attributes:
        streams: calls of ``embed`` at the same time.
        threads: threads of one call.
        device: ``cpu``, or a torch device such as ``cuda`` or ``cuda:1``.
        children: runs what a backend does in a process of its own.
    """

    precision: Precision = Precision.FP32
    streams: int = 1
    threads: int = 1
    device: str = "cpu"
    children: ChildRunner = field(default_factory=ChildRunner, compare=False)


class EmbeddingBackend(Protocol):
    """A loaded model. ``embed`` is called from several threads at once.

    It computes on the calling thread, on threads that were started from it, or on threads that were started from the
    one that loaded the model (see ``BackendEntry.own_threads``). On Linux a thread has the priority of the one that
    starts it.
    """

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


class BackendModule(Protocol):
    """A module of this package. Importing it imports its framework; ``load`` blocks and raises SageError."""

    def supports(self, folder: ModelFolder, runtime: Runtime) -> str:
        """Say why this backend cannot run a model so; empty when it can."""
        ...

    def load(self, folder: ModelFolder, runtime: Runtime) -> EmbeddingBackend:
        """Load a model."""
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

    @property
    def int_mask(self) -> npt.NDArray[np.int64]:
        """The mask as the exported models take it: 1 on real tokens, 0 where padded."""
        return np.ones_like(self.ids) if self.mask is None else self.mask.astype(np.int64)


def pad(batch: Sequence[TokenIds], multiple: int = 1) -> Padded:
    """Lay a batch out as a rectangle, padded on the right with zeros to a length that ``multiple`` divides."""
    lengths = np.array([len(ids) for ids in batch])
    longest = -(-int(lengths.max()) // multiple) * multiple
    if int(lengths.min()) == longest:
        return Padded(np.stack(batch).astype(np.int64), None)
    mask = np.arange(longest) < lengths[:, None]
    ids = np.zeros(mask.shape, dtype=np.int64)
    ids[mask] = np.concatenate(batch)
    return Padded(ids, mask)
