"""Exact nearest neighbours by cosine similarity, in memory."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

K = TypeVar("K", bound=Hashable)

# Scores of this many stored vectors are computed at a time, so a search needs little memory beside the vectors.
_BLOCK_ROWS = 65536


@dataclass(frozen=True)
class Neighbour(Generic[K]):
    """A stored key and its cosine similarity to the query, in [-1, 1]."""

    key: K
    score: float


class ExactVectorIndex(Generic[K]):
    """Vectors by key. Every search compares the query with every vector, so it is exact; O(n · d) a query.

    Args:
        dimension: length of every vector, or None to take the first vector's.
    """

    def __init__(self, dimension: int | None = None) -> None:
        self.dimension = dimension
        self._keys: list[K] = []
        self._row_of: dict[K, int] = {}
        self._rows = np.empty((0, dimension or 0), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._row_of

    def add(self, key: K, vector: npt.ArrayLike) -> None:
        """Store ``vector`` (shape (d,)) under ``key``; a key stored before gets the new vector.

        Raises:
            ValueError: the vector's shape differs from the others', or it holds NaN or infinity.
        """
        row = np.asarray(vector, dtype=np.float32)
        if row.ndim != 1 or row.size == 0:
            raise ValueError(f"a vector has shape (d,), got {row.shape}")
        if self.dimension is None:
            self.dimension = int(row.size)
            self._rows = np.empty((0, self.dimension), dtype=np.float32)
        if row.size != self.dimension:
            raise ValueError(f"the index holds vectors of {self.dimension} numbers, got one of {row.size}")
        if not np.isfinite(row).all():
            raise ValueError("the vector holds NaN or infinity")
        at = self._row_of.get(key)
        if at is None:
            at = len(self._keys)
            self._grow(at + 1)
            self._keys.append(key)
            self._row_of[key] = at
        length = float(np.linalg.norm(row))
        self._rows[at] = row / length if length > 0 else row

    def search(self, query: npt.ArrayLike, k: int) -> list[Neighbour[K]]:
        """Return the ``k`` nearest (fewer if fewer are stored), best first; ties go to the key stored first.

        Args:
            query: shape (d,), of any length above zero.

        Raises:
            ValueError: k < 1, or a query of another shape.
        """
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one neighbour")
        if not self._keys:
            return []
        row = np.asarray(query, dtype=np.float32)
        if row.shape != (self.dimension,):
            raise ValueError(f"the index holds vectors of {self.dimension} numbers, got a query of shape {row.shape}")
        length = float(np.linalg.norm(row))
        if length > 0:
            row = row / length
        scores = np.empty(len(self._keys), dtype=np.float32)
        for start in range(0, len(self._keys), _BLOCK_ROWS):
            block = self._rows[start : min(start + _BLOCK_ROWS, len(self._keys))]
            scores[start : start + len(block)] = block @ row
        # What differs by rounding alone is equal, so that ties rank the same on every machine.
        scores = np.round(scores, 6)
        # A stable sort of the negated scores keeps the order of insertion among equals. Only what can be among the
        # first k is sorted.
        if k < len(scores):
            threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
            candidates = np.flatnonzero(scores >= threshold)
        else:
            candidates = np.arange(len(scores))
        best = candidates[np.argsort(-scores[candidates], kind="stable")][:k]
        return [Neighbour(self._keys[at], float(scores[at])) for at in best]

    def _grow(self, rows: int) -> None:
        if rows <= len(self._rows):
            return
        larger = np.empty((max(rows, 2 * len(self._rows), 64), self._rows.shape[1]), dtype=np.float32)
        larger[: len(self._keys)] = self._rows[: len(self._keys)]
        self._rows = larger
