"""Exact nearest neighbours by cosine similarity, in memory."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from sage_libs.native_scan import SCAN_THREADS, Ints, ScannedRows, native_scan
from sage_libs.quantization import Floats

K = TypeVar("K", bound=Hashable)

# NumPy computes the scores of this many stored vectors at a time, so a search needs little memory beside the vectors.
_BLOCK_ROWS = 65536
# Scores that differ by less may be equal when they are rounded.
_FLOAT_ERROR = np.float32(2e-6)


@dataclass(frozen=True)
class Neighbour(Generic[K]):
    """A stored key and its cosine similarity to the query, in [-1, 1]."""

    key: K
    score: float


class ExactVectorIndex(Generic[K]):
    """Vectors by key. Every search compares the query with every vector, so it is exact; O(n · d) a query.

    Where ``sage-native`` is installed its scan finds the candidates, with the same results as NumPy.

    Args:
        dimension: length of every vector, or None to take the first vector's.
    """

    def __init__(self, dimension: int | None = None) -> None:
        self.dimension = dimension
        self._keys: list[K] = []
        self._row_of: dict[K, int] = {}
        self._rows = np.empty((0, dimension or 0), dtype=np.float32)
        # The first of the rows, laid out for scanning; the others are added before the next search.
        self._packed: ScannedRows | None = None

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
        else:
            # Packed rows can only be added.
            self._packed = None
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
        candidates = self._candidates(row, k)
        # What differs by rounding alone is equal, so that ties rank the same on every machine.
        scores = np.round(self._rows[candidates] @ row, 6)
        # A stable sort of the negated scores keeps the order of insertion among equals.
        best = np.argsort(-scores, kind="stable")[:k]
        return [Neighbour(self._keys[candidates[at]], float(scores[at])) for at in best]

    def _candidates(self, row: Floats, k: int) -> Ints:
        """Return the rows, ascending, that can be among the ``k`` nearest to a unit vector."""
        count = len(self._keys)
        if k >= count:
            return np.arange(count)
        native = native_scan()
        if native is not None:
            if self._packed is None:
                self._packed = native.PackedRows(row.size)
            if len(self._packed) < count:
                self._packed.append_vectors(self._rows[len(self._packed) : count])
            return self._packed.nearest(row[np.newaxis], k, None, SCAN_THREADS)[1]
        scores = np.empty(count, dtype=np.float32)
        for start in range(0, count, _BLOCK_ROWS):
            block = self._rows[start : min(start + _BLOCK_ROWS, count)]
            scores[start : start + len(block)] = block @ row
        floor = np.partition(scores, count - k)[count - k]
        return np.flatnonzero(scores >= floor - _FLOAT_ERROR)

    def _grow(self, rows: int) -> None:
        if rows <= len(self._rows):
            return
        larger = np.empty((max(rows, 2 * len(self._rows), 64), self._rows.shape[1]), dtype=np.float32)
        larger[: len(self._keys)] = self._rows[: len(self._keys)]
        self._rows = larger
