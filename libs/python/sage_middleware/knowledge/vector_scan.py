"""Exact nearest neighbours: an int8 scan finds the candidates, float32 orders them.

A candidate is whatever can be among the nearest k by the bound on the int8 vectors' errors: for unit vectors q and x
with approximations q̂ and x̂, ``|q·x − q̂·x̂| ≤ |q − q̂| + |x − x̂| (1 + |q − q̂|)`` by Cauchy and Schwarz. So none of the
nearest is missed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sage_libs.native_scan import SCAN_THREADS, native_scan
from sage_libs.quantization import Floats, Int8s, Quantized, quantize, unit_rows

Ints = npt.NDArray[np.int64]

# NumPy multiplies int8 slowly, so it converts this many rows at a time and multiplies floats.
_BLOCK_ROWS = 8192
# What float32 arithmetic on scores near 1 may be off by.
_FLOAT_ERROR = np.float32(2e-6)


class Int8Dots(Protocol):
    """Scalar products of an int8 vector with many."""

    name: str

    def __call__(self, query: Int8s) -> Floats:
        """Return the products of ``query``, shape (d,), as exact whole numbers in float32, shape (n,)."""
        ...


class NumpyDots:
    """In NumPy, for machines without numkong."""

    name = "numpy"

    def __init__(self, values: Int8s) -> None:
        self._values = values

    def __call__(self, query: Int8s) -> Floats:
        """Return the products."""
        products = np.empty(len(self._values), dtype=np.float32)
        row = query.astype(np.float32)
        for start in range(0, len(products), _BLOCK_ROWS):
            block = self._values[start : start + _BLOCK_ROWS]
            products[start : start + len(block)] = block.astype(np.float32) @ row
        return products


class NumkongDots:
    """With numkong's int8 kernels."""

    name = "numkong"

    def __init__(self, values: Int8s) -> None:
        import numkong

        self._numkong = numkong
        self._values = values

    def __call__(self, query: Int8s) -> Floats:
        """Return the products."""
        if not len(self._values):
            return np.empty(0, dtype=np.float32)
        # For one query, less than half of the time that packing either side takes.
        products: Floats = np.asarray(self._numkong.cdist(query[None, :], self._values, "dot"))[0].astype(np.float32)
        return products


class Scan(Protocol):
    """Finds who can be among the nearest."""

    name: str

    def candidates(self, unit: Floats, k: int, allowed: npt.NDArray[np.bool_] | None) -> list[Ints]:
        """Return for each of the queries, unit vectors (q, d), the rows that can be among its ``k`` nearest, ascending.

        Args:
            allowed: shape (n,); None allows all.
        """
        ...


class EstimateScan:
    """Computes every product, then selects."""

    def __init__(self, vectors: Quantized, dots: Int8Dots) -> None:
        self._vectors = vectors
        self._dots = dots
        self.name = dots.name

    def candidates(self, unit: Floats, k: int, allowed: npt.NDArray[np.bool_] | None) -> list[Ints]:
        """Return the candidates."""
        code = quantize(unit)
        return [
            self._of_one(values, scale, error, k, allowed)
            for values, scale, error in zip(code.values, code.scales, code.errors, strict=True)
        ]

    def _of_one(
        self, query: Int8s, scale: np.float32, error: np.float32, k: int, allowed: npt.NDArray[np.bool_] | None
    ) -> Ints:
        estimates = self._dots(query) * (self._vectors.scales * scale)
        if allowed is not None:
            estimates[~allowed] = -np.inf
        bounds = error + self._vectors.errors * (1 + error) + _FLOAT_ERROR
        count = len(estimates)
        if k >= count:
            return np.flatnonzero(estimates > -np.inf)
        # The k-th greatest of what the scores are at least; whoever can reach it is a candidate.
        floor = np.partition(estimates - bounds, count - k)[count - k]
        return np.flatnonzero((estimates + bounds >= floor) & (estimates > -np.inf))


class FusedScan:
    """In C++: products are compared as they are made, and never stored."""

    name = "native"

    def __init__(self, vectors: Quantized) -> None:
        native = native_scan()
        if native is None:
            raise ImportError("sage-native is not installed")
        self._rows = native.PackedRows(vectors.values.shape[1])
        self._rows.append(*vectors)

    def candidates(self, unit: Floats, k: int, allowed: npt.NDArray[np.bool_] | None) -> list[Ints]:
        """Return the candidates."""
        offsets, rows = self._rows.nearest(unit, k, allowed, SCAN_THREADS)
        return [rows[start:end] for start, end in pairwise(offsets.tolist())]


def numpy_scan(vectors: Quantized) -> Scan:
    """Scan with NumPy."""
    return EstimateScan(vectors, NumpyDots(vectors.values))


def numkong_scan(vectors: Quantized) -> Scan:
    """Scan with numkong. Raises ImportError where it is not installed."""
    return EstimateScan(vectors, NumkongDots(vectors.values))


def best_scan(vectors: Quantized) -> Scan:
    """Scan with the fastest that is installed here; see docs/adr/0048."""
    for make in (FusedScan, numkong_scan):
        with suppress(ImportError):
            return make(vectors)
    return numpy_scan(vectors)


class Nearest(NamedTuple):
    """The nearest rows, best first: ``rows`` int64 (m,), ``scores`` float32 (m,) cosine similarities."""

    rows: Ints
    scores: Floats


class VectorScan:
    """Vectors that are searched by scanning them all.

    Args:
        vectors: of length 1, in int8.
        originals: takes row numbers (m,) and returns their vectors in float32 (m, d).
        scan: makes the scan over the int8 vectors.
    """

    def __init__(
        self,
        vectors: Quantized,
        originals: Callable[[Ints], Floats],
        scan: Callable[[Quantized], Scan] = best_scan,
    ) -> None:
        self._count, self._dimension = vectors.values.shape
        self._originals = originals
        self._scan = scan(vectors)

    @property
    def backend(self) -> str:
        """The scan in use: ``native``, ``numkong`` or ``numpy``."""
        return self._scan.name

    def nearest(self, query: npt.ArrayLike, k: int, allowed: npt.NDArray[np.bool_] | None = None) -> Nearest:
        """Return the ``k`` nearest of the rows that are allowed; ties go to the lower row.

        Args:
            query: shape (d,), of any length.
            allowed: shape (n,); None allows all.

        Raises:
            ValueError: k < 1, a query of another shape, or NaN or infinity in it.
        """
        given = np.asarray(query, dtype=np.float32)
        if given.shape != (self._dimension,) and self._count:
            raise ValueError(f"the vectors have {self._dimension} numbers, the query has shape {given.shape}")
        return self.nearest_to_each(given[None, :], k, allowed)[0]

    def nearest_to_each(
        self, queries: npt.ArrayLike, k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> list[Nearest]:
        """Return what ``nearest`` returns for each of several queries, shape (q, d), faster than one by one.

        Raises:
            ValueError: see ``nearest``.
        """
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one neighbour")
        given = np.asarray(queries, dtype=np.float32)
        if self._count == 0:
            return [Nearest(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)) for _ in given]
        if given.ndim != 2 or given.shape[1] != self._dimension:
            raise ValueError(f"the vectors have {self._dimension} numbers, the queries have shape {given.shape}")
        if allowed is not None and allowed.shape != (self._count,):
            raise ValueError(f"there are {self._count} vectors, what is allowed has shape {allowed.shape}")
        unit = unit_rows(given)
        found = self._scan.candidates(unit, k, allowed)
        return [self._ordered(query, rows, k) for query, rows in zip(unit, found, strict=True)]

    def _ordered(self, unit: Floats, candidates: Ints, k: int) -> Nearest:
        # What differs by rounding alone is equal, so that ties rank the same on every machine.
        scores = np.round(self._originals(candidates) @ unit, 6)
        order = np.argsort(-scores, kind="stable")[:k]
        return Nearest(candidates[order], scores[order])
