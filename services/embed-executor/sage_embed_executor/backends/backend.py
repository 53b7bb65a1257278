"""What a backend is: what its module says of it, its model once loaded, and the export that it reads, if any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sage_embed_executor.child_process import ChildRunner
from sage_embed_executor.exports.export_form import ExportForm, Precision
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TokenIds

# Vectors of a batch, shape (texts, dimensions).
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Runtime:
    """How a backend is to run a model.

    Attributes:
        streams: concurrent calls of ``embed``.
        threads: threads of one call.
        device: ``cpu``, or a torch device such as ``cuda`` or ``cuda:1``.
        children: runs what a backend does in a separate process.
    """

    precision: Precision = Precision.FP32
    streams: int = 1
    threads: int = 1
    device: str = "cpu"
    children: ChildRunner = field(default_factory=ChildRunner, compare=False)


class EmbeddingBackend(Protocol):
    """A loaded model. ``embed`` is thread-safe.

    It computes on the calling thread, on threads started from it, or on threads started from the one that loaded the
    model (see ``BackendEntry.own_threads``). On Linux a thread has the priority of the one that starts it.
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
        """Return the vectors of a batch in its order, shape (len(batch), dimensions), independent of each other."""
        ...


class BackendModule(Protocol):
    """A module of this package. Importing it imports no framework; its functions do."""

    def supports(self, folder: ModelFolder, runtime: Runtime) -> str:
        """Return why this backend cannot run a model with ``runtime``; empty when it can."""
        ...

    def load(self, folder: ModelFolder, runtime: Runtime) -> EmbeddingBackend:
        """Load a model. Blocks. Raises SageError."""
        ...


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """What is known of a backend without importing its framework.

    Attributes:
        module: importable name of a BackendModule.
        precisions: those that it computes in.
        packages: importable names of what must be installed.
        extra: pip extra of this service that installs them.
        export: what it reads; None for a backend that reads the model's own files.
        reference: whether its vectors in fp32 are what other backends are compared with.
        own_threads: whether it computes on threads that it starts when a model is loaded, not on the calling thread.
            Bulk work then needs a second model, whose threads have a lower priority.
        library: whether it runs any model but is never the fastest; used only where no other backend runs the model.
    """

    module: str
    precisions: tuple[Precision, ...]
    packages: tuple[str, ...]
    extra: str
    export: ExportForm | None = None
    reference: bool = False
    own_threads: bool = False
    library: bool = False


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
        """The mask as exported models take it, int64: 1 on real tokens, 0 where padded."""
        return np.ones_like(self.ids) if self.mask is None else self.mask.astype(np.int64)


def pad(batch: Sequence[TokenIds], multiple: int = 1) -> Padded:
    """Return a batch as a rectangle, padded on the right with zeros to a length that ``multiple`` divides."""
    lengths = np.array([len(ids) for ids in batch])
    longest = -(-int(lengths.max()) // multiple) * multiple
    if int(lengths.min()) == longest:
        return Padded(np.stack(batch).astype(np.int64), None)
    mask = np.arange(longest) < lengths[:, None]
    ids = np.zeros(mask.shape, dtype=np.int64)
    ids[mask] = np.concatenate(batch)
    return Padded(ids, mask)
