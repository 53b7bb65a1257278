"""A graph of near neighbours (HNSW) over int8 vectors, where ``usearch`` is installed.

Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small World
graphs", TPAMI 2020. What it finds is approximate: score it again, and measure what is missed.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_libs.quantization import Int8s

Ints = npt.NDArray[np.int64]

THREADS = 2


class HnswError(Exception):
    """A file cannot be read or written, or ``usearch`` cannot be used."""


class HnswGraph:
    """Vectors by key. Calls may come from several threads; a graph that was mapped can only be searched.

    Args:
        dimension: numbers of a vector.

    Attributes:
        deleted: places of vectors that had been removed when its file was written; searches pass through them.

    Raises:
        HnswError: ``usearch`` is not installed, or cannot be loaded.
    """

    def __init__(self, dimension: int) -> None:
        self.deleted = 0
        try:
            self._index = _usearch().Index(ndim=dimension, metric="cos", dtype="i8")
        except (ImportError, OSError) as error:
            raise HnswError(f"usearch cannot be used: {error}") from error
        # usearch has a context a processor for its callers, and fails where more of them ask at once.
        self._lock = Lock()

    @classmethod
    def load(cls, path: Path, dimension: int) -> HnswGraph:
        """Read a file into memory, to be changed. Raises HnswError as ``map``."""
        return cls._opened(path, dimension, "load")

    @classmethod
    def map(cls, path: Path, dimension: int) -> HnswGraph:
        """Map a file; searches read what they need of it.

        usearch follows the numbers that it finds there. The caller makes sure that the file is whole.

        Raises:
            HnswError: it is not there, or holds something else.
        """
        return cls._opened(path, dimension, "view")

    @classmethod
    def _opened(cls, path: Path, dimension: int, how: str) -> HnswGraph:
        graph = cls(dimension)
        try:
            # usearch takes over whatever kind of graph the file holds, so that is asked first.
            kept = _usearch().Index.metadata(str(path)) or {}
            if (kept.get("dimensions"), str(kept.get("kind_scalar"))) != (dimension, str(graph._index.dtype)):
                raise HnswError(f"{path.name} holds no graph of int8 vectors of {dimension} numbers")
            getattr(graph._index, how)(str(path))
            graph.deleted = int(kept.get("count_deleted", 0))
        except (OSError, RuntimeError, ValueError) as error:
            raise HnswError(f"{path.name} cannot be read: {error}") from error
        return graph

    def __len__(self) -> int:
        return len(self._index)

    def contains(self, keys: Ints) -> npt.NDArray[np.bool_]:
        """Return which of the keys, shape (n,), it has."""
        with self._lock:
            return np.atleast_1d(np.asarray(self._index.contains(keys.astype(np.uint64)), dtype=np.bool_))

    def add(self, keys: Ints, codes: Int8s) -> None:
        """Add vectors (n, d), each scaled as its greatest number demands: angles alone count. No key may be known."""
        with self._lock:
            self._index.add(keys.astype(np.uint64), codes, threads=THREADS)

    def remove(self, keys: Ints) -> None:
        """Remove vectors; keys that are not there are passed over."""
        with self._lock:
            self._index.remove(keys.astype(np.uint64), threads=1)

    def search(self, code: Int8s, count: int, expansion: int) -> Ints:
        """Return up to ``count`` keys near to a vector (d,), nearest first.

        Args:
            expansion: how many candidates are kept while the graph is walked; more find more, and take longer.
        """
        if not len(self._index):
            return np.empty(0, dtype=np.int64)
        with self._lock:
            self._index.expansion_search = expansion
            found = self._index.search(code, count, threads=1)
        return np.asarray(found.keys, dtype=np.uint64).astype(np.int64)

    def save(self, path: Path) -> None:
        """Write a file, whole and down to the disk. Raises HnswError: it cannot be written."""
        try:
            with self._lock:
                self._index.save(str(path))
                expected = self._index.serialized_length
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                written = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
        except (OSError, RuntimeError, ValueError) as error:
            raise HnswError(f"{path} cannot be written; there may be no room on the disk: {error}") from error
        if written < expected:
            raise HnswError(f"{path} has {written} of {expected} bytes; the disk is full")


def hnsw_is_installed() -> bool:
    """Whether ``usearch`` can be loaded."""
    try:
        _usearch()
    except (ImportError, OSError):
        return False
    return True


@cache
def _usearch() -> Any:
    import usearch.index

    return usearch.index
