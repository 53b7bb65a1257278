"""Exact nearest neighbours: an int8 scan finds the candidates, float32 orders them.

A candidate is whatever can be among the nearest k by the bound on the int8 vectors' errors: for unit vectors q and x
with approximations q̂ and x̂, ``|q·x − q̂·x̂| ≤ |q − q̂| + |x − x̂| (1 + |q − q̂|)`` by Cauchy and Schwarz. So none of the
nearest is missed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sage_middleware.knowledge.quantization import Floats, Int8s, Quantized, quantize, unit_rows

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


def best_dots(values: Int8s) -> Int8Dots:
    """Return the fastest scan that is installed here."""
    try:
        return NumkongDots(values)
    except ImportError:
        return NumpyDots(values)


class Nearest(NamedTuple):
    """The nearest rows, best first: ``rows`` int64 (m,), ``scores`` float32 (m,) cosine similarities."""

    rows: npt.NDArray[np.int64]
    scores: Floats


class VectorScan:
    """Vectors that are searched by scanning them all.

    Args:
        vectors: of length 1, in int8.
        originals: takes row numbers (m,) and returns their vectors in float32 (m, d).
        dots: makes the scan over the int8 values.
    """

    def __init__(
        self,
        vectors: Quantized,
        originals: Callable[[npt.NDArray[np.int64]], Floats],
        dots: Callable[[Int8s], Int8Dots] = best_dots,
    ) -> None:
        self._vectors = vectors
        self._originals = originals
        self._dots = dots(vectors.values)

    @property
    def backend(self) -> str:
        """The scan in use: ``numkong`` or ``numpy``."""
        return self._dots.name

    def nearest(self, query: npt.ArrayLike, k: int, allowed: npt.NDArray[np.bool_] | None = None) -> Nearest:
        """Return the ``k`` nearest of the rows that are allowed; ties go to the lower row.

        Args:
            query: shape (d,), of any length.
            allowed: shape (n,); None allows all.

        Raises:
            ValueError: k < 1, a query of another shape, or NaN or infinity in it.
        """
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least one neighbour")
        given = np.asarray(query, dtype=np.float32)
        count, dimension = self._vectors.values.shape
        if count == 0:
            return Nearest(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
        if given.shape != (dimension,):
            raise ValueError(f"the vectors have {dimension} numbers, the query has shape {given.shape}")
        unit = unit_rows(given[None, :])
        code = quantize(unit)
        estimates = self._dots(code.values[0]) * (self._vectors.scales * code.scales[0])
        if allowed is not None:
            estimates[~allowed] = -np.inf
        bounds = code.errors[0] + self._vectors.errors * (1 + code.errors[0]) + _FLOAT_ERROR
        if k < count:
            # The k-th greatest of what the scores are at least; whoever can reach it is a candidate.
            floor = np.partition(estimates - bounds, count - k)[count - k]
            candidates = np.flatnonzero((estimates + bounds >= floor) & (estimates > -np.inf))
        else:
            candidates = np.flatnonzero(estimates > -np.inf)
        # What differs by rounding alone is equal, so that ties rank the same on every machine.
        scores = np.round(self._originals(candidates) @ unit[0], 6)
        order = np.argsort(-scores, kind="stable")[:k]
        return Nearest(candidates[order], scores[order])
