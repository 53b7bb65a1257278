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
from sage_embed_executor.selection.backend_selection import (
    BackendPreference,
    Loaded,
    load_before_measuring,
    select_and_load,
)
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
        lock: held while backends are measured, so that the trials of several models of a process do not overlap.
    """

    def __init__(
        self, model: str, preference: BackendPreference, max_padding_share: float, lock: threading.Lock
    ) -> None:
        self._model = model
        self._preference = preference
        self._max_padding_share = max_padding_share
        self._lock = lock
        self._children = ChildRunner()
        self._unmeasured: Selection | None = None

    def load(self) -> LoadedModel:
        """Load the model. Blocks. Raises SageError.

        Where its backends have to be measured first, and torch in fp32 can run it without, it does until ``measured``.
        """
        self._children.raise_if_stopped()
        folder = read_model_folder(find_weights(self._model))
        loaded = load_before_measuring(folder, self._preference, self._children)
        self._unmeasured = None if loaded is None else loaded.selection
        return self._model_of(folder, loaded or self._selected(folder))

    def measured(self) -> LoadedModel | None:
        """Measure the backends where ``load`` left that out, and load the model in the one chosen. Blocks.

        Returns:
            None where ``load`` has loaded it so already.

        Raises:
            SageError: none could be chosen or loaded.
        """
        before = self._unmeasured
        if before is None:
            return None
        folder = read_model_folder(find_weights(self._model))
        loaded = self._selected(folder)
        same = (loaded.selection.candidate, loaded.selection.token_budget) == (before.candidate, before.token_budget)
        return None if same else self._model_of(folder, loaded)

    def _selected(self, folder: ModelFolder) -> Loaded:
        with self._lock:
            self._children.raise_if_stopped()
            return select_and_load(folder, self._preference, self._children)

    def _model_of(self, folder: ModelFolder, loaded: Loaded) -> LoadedModel:
        limits = BatchLimits(loaded.selection.token_budget, self._max_padding_share)
        return LoadedModel(
            folder,
            TextTokenizer.load(folder.path),
            loaded.backend,
            limits,
            loaded.selection,
            loaded.bulk_backend,
            self._preference.streams * self._preference.threads,
        )

    def cancel(self) -> None:
        """Make a running ``load`` or ``measured`` fail soon, and any later one at once."""
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
