"""Ways to find the pairs of a similarity join, behind the same operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sage_benchmark.native.scan_opponents import THREADS
from sage_libs.native_scan import native_scan
from sage_libs.quantization import Floats, Quantized, quantize
from sage_libs.vector_pairs import Ints, NativePairSearch, NumpyPairSearch, PairSearch, StoredVectors, TooManyPairsError


class CodedVectors(StoredVectors):
    """Vectors that are stored in int8 too."""

    def __init__(self, dimension: int) -> None:
        super().__init__(dimension)
        self._values = np.empty((0, dimension), dtype=np.int8)
        self._scales, self._errors = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.float32)

    @property
    def codes(self) -> Quantized:
        """The codes of all rows."""
        count = len(self)
        return Quantized(self._values[:count], self._scales[:count], self._errors[:count])

    def append(self, unit: Floats) -> None:
        """Add unit vectors."""
        start, total = len(self), len(self) + len(unit)
        if total > len(self._scales):
            rows = max(total, 2 * len(self._scales))
            self._values = np.resize(self._values, (rows, unit.shape[1]))
            self._scales, self._errors = np.resize(self._scales, rows), np.resize(self._errors, rows)
        self._values[start:total], self._scales[start:total], self._errors[start:total] = quantize(unit)
        super().append(unit)


class NumkongPairSearch:
    """All int8 products by numkong, then those that can be great enough."""

    name = "numkong"

    def __init__(self) -> None:
        import numkong

        self._numkong = numkong

    def store(self, dimension: int) -> StoredVectors:
        """Return a store."""
        return CodedVectors(dimension)

    def candidates(self, stores: Sequence[StoredVectors], unit: Floats, threshold: float, most: int) -> Ints:
        """Return the candidates."""
        asked = quantize(unit)
        found = [np.empty((0, 3), dtype=np.int64)]
        for number, store in enumerate(stores):
            assert isinstance(store, CodedVectors)
            values, scales, errors = store.codes
            dots = np.asarray(self._numkong.cdist(asked.values, values, "dot", threads=THREADS)).astype(np.float32)
            dots *= asked.scales[:, None]
            dots *= scales
            bounds = asked.errors[:, None] + errors * (1 + asked.errors[:, None]) + np.float32(2e-6)
            queries, rows = np.nonzero(dots + bounds >= threshold)
            found.append(np.stack([np.full(len(rows), number), rows, queries], axis=1))
        pairs = np.concatenate(found)
        if len(pairs) > most:
            raise TooManyPairsError(f"more than {most} pairs reach the threshold")
        return pairs


def native_pairs() -> PairSearch:
    """Return the search in C++. Raises ImportError where it is not installed."""
    native = native_scan()
    if native is None:
        raise ImportError("sage-native is not installed")
    return NativePairSearch(native)


OPPONENTS: dict[str, Callable[[], PairSearch]] = {
    "native": native_pairs,
    "numkong": NumkongPairSearch,
    "numpy": NumpyPairSearch,
}
