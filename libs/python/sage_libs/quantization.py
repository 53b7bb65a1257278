"""Vectors as int8, with a bound on what that costs in accuracy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Int8s = npt.NDArray[np.int8]


class Quantized(NamedTuple):
    """Unit vectors in int8: vector i is ``values[i] * scales[i]``, off by a vector of length ``errors[i]``.

    Attributes:
        values: int8, shape (n, d).
        scales: float32, shape (n,).
        errors: float32, shape (n,), rounded up.
    """

    values: Int8s
    scales: Floats
    errors: Floats


def unit_rows(vectors: npt.ArrayLike) -> Floats:
    """Return vectors (n, d) at length 1; a vector of zeros stays.

    Raises:
        ValueError: another shape, or NaN or infinity in it.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"vectors have shape (n, d), got {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("a vector holds NaN or infinity")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32)
    unit = rows / np.where(lengths > 0, lengths, np.float32(1))
    return unit.astype(np.float32, copy=False)


def quantize(unit: Floats) -> Quantized:
    """Quantize unit vectors (n, d), each by its own greatest value."""
    peaks = np.abs(unit).max(axis=1)
    scales = np.where(peaks > 0, peaks / np.float32(127), np.float32(1)).astype(np.float32)
    values = np.rint(unit / scales[:, None]).astype(np.int8)
    off = unit.astype(np.float64) - values.astype(np.float64) * scales[:, None].astype(np.float64)
    errors = np.linalg.norm(off, axis=1) * (1 + 1e-6) + 1e-7
    return Quantized(values, scales, errors.astype(np.float32))
