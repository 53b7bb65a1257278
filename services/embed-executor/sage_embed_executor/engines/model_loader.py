"""Loading a model: its files, its tokenizer, and the backend that runs it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from sage_embed_executor.backends.backend import EmbeddingBackend
from sage_embed_executor.batching.length_aware_queue import BatchLimits
from sage_embed_executor.child_process import ChildRunner
from sage_embed_executor.models.model_folder import ModelFolder, read_model_folder
from sage_embed_executor.models.tokenizer import TextTokenizer
from sage_embed_executor.models.weights import find_weights
from sage_embed_executor.selection.backend_selection import BackendPreference, select_and_load
from sage_embed_executor.selection.candidates import Selection


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model with its tokenizer and backend.

    Attributes:
        limits: on its batches.
        selection: how the backend was chosen; None where none was selected.
        bulk_backend: runs it for bulk work; None where ``backend`` does that too, see ``Loaded``.
        bulk_streams: concurrent calls of ``bulk_backend``.
    """

    folder: ModelFolder
    tokenizer: TextTokenizer
    backend: EmbeddingBackend
    limits: BatchLimits = BatchLimits()
    selection: Selection | None = None
    bulk_backend: EmbeddingBackend | None = None
    bulk_streams: int = 0


class ModelLoader:
    """Loads one model; thread-safe.

    Args:
        lock: held while a model is loaded, so that the trials of several models of a process do not overlap.
    """

    def __init__(
        self, model: str, preference: BackendPreference, max_padding_share: float, lock: threading.Lock
    ) -> None:
        self._model = model
        self._preference = preference
        self._max_padding_share = max_padding_share
        self._lock = lock
        self._children = ChildRunner()

    def load(self) -> LoadedModel:
        """Load the model. Blocks, at the first start until the backends are measured. Raises SageError."""
        with self._lock:
            self._children.raise_if_stopped()
            folder = read_model_folder(find_weights(self._model))
            tokenizer = TextTokenizer.load(folder.path)
            loaded = select_and_load(folder, self._preference, self._children)
        limits = BatchLimits(loaded.selection.token_budget, self._max_padding_share)
        return LoadedModel(
            folder,
            tokenizer,
            loaded.backend,
            limits,
            loaded.selection,
            loaded.bulk_backend,
            self._preference.streams * self._preference.threads,
        )

    def cancel(self) -> None:
        """Make a running ``load`` fail soon, and any later one at once."""
        self._children.stop()


def runtime_labels(model: LoadedModel, streams: int) -> tuple[tuple[str, str], ...]:
    """Return labels of how the model runs, for heartbeats, ``sage status`` and logs."""
    labels = {
        "backend": model.backend.description,
        "streams": str(streams),
        "token_budget": str(model.limits.token_budget),
    }
    selection = model.selection
    if selection is not None:
        labels["precision"] = selection.candidate.precision.value
        if selection.measured:
            labels |= {
                "tokens_per_second": f"{selection.tokens_per_second:.0f}",
                "least_cosine_to_fp32": f"{selection.cosine:.5f}",
                "memory_mb": str(selection.memory_mb),
            }
    return tuple(labels.items())
