"""Vectors in a column of records, as an array."""

from __future__ import annotations

import numpy as np
import polars as pl

from sage_libs.quantization import Floats


def is_vector(dtype: pl.DataType) -> bool:
    """Whether a field of this type holds vectors."""
    return isinstance(dtype, pl.List | pl.Array) and dtype.inner in (pl.Float32(), pl.Float64())


def vectors_of(column: pl.Series) -> Floats:
    """Return the vectors of a column that has some and no null: float32 (n, d), NaN for numbers that are null.

    Raises:
        ValueError: it holds no vectors, or vectors of several lengths, or without numbers.
    """
    if not isinstance(column.dtype, pl.List | pl.Array):
        raise ValueError(f"a vector is a list of numbers, not {column.dtype!r}")
    length = column.dtype.size if isinstance(column.dtype, pl.Array) else len(column[0])
    if length == 0:
        raise ValueError("it holds a vector without numbers")
    try:
        vectors = column.cast(pl.Array(pl.Float32, length)).to_numpy()
    except pl.exceptions.PolarsError as error:
        lengths = column.list.len()
        if lengths.min() == lengths.max():
            raise ValueError(f"a vector is a list of numbers, not {column.dtype!r}") from error
        raise ValueError(f"it holds vectors of {lengths.min()!r} and of {lengths.max()!r} numbers") from error
    return np.asarray(vectors)
