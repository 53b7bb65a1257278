"""Pairs of vectors that are alike: which stored vectors are within a similarity of each of some others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sage_libs.native_scan import SCAN_THREADS, NativeScan, ScannedRows, native_scan
from sage_libs.quantization import Floats

Ints = npt.NDArray[np.int64]

# A block has at most so many vectors: NumPy multiplies one at a time. The first has the least.
_BLOCK_ROWS = 4096
_LEAST_BLOCK_ROWS = 256
# By what float32 products, rounded, may differ from the scores below.
_FLOAT_ERROR = 1e-5


class TooManyPairsError(Exception):
    """More pairs than can be held."""


class StoredVectors:
    """Unit vectors that only grow, in blocks: one that is there is never moved again."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._blocks: list[Floats] = []
        # Number of the first vector of each block.
        self._starts: list[int] = []
        self._count = 0
        self._room = 0

    def __len__(self) -> int:
        return self._count

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """Yield the vectors in order: the number of the first, and float32 (m, d)."""
        for start, block in zip(self._starts, self._blocks, strict=True):
            yield start, block[: self._count - start]

    def at(self, rows: Ints) -> Floats:
        """Return the vectors of these numbers, float32 (m, d)."""
        if len(self._blocks) == 1:
            return self._blocks[0][rows]
        found = np.empty((len(rows), self._dimension), dtype=np.float32)
        numbers = np.searchsorted(self._starts, rows, "right") - 1
        for number in distinct(numbers):
            chosen = numbers == number
            found[chosen] = self._blocks[number][rows[chosen] - self._starts[number]]
        return found

    def append(self, unit: Floats) -> None:
        """Add unit vectors (m, d)."""
        while len(unit):
            if self._count == self._room:
                rows = min(max(self._count, _LEAST_BLOCK_ROWS), _BLOCK_ROWS)
                self._blocks.append(np.empty((rows, self._dimension), dtype=np.float32))
                self._starts.append(self._count)
                self._room += rows
            fitting = unit[: self._room - self._count]
            place = self._count - self._starts[-1]
            self._blocks[-1][place : place + len(fitting)] = fitting
            self._count += len(fitting)
            unit = unit[len(fitting) :]


class PairSearch(Protocol):
    """Finds which pairs can be alike."""

    name: str

    def store(self, dimension: int) -> StoredVectors:
        """Return a store without vectors, of the kind that ``candidates`` takes."""
        ...

    def candidates(self, stores: Sequence[StoredVectors], unit: Floats, threshold: float, most: int) -> Ints:
        """Return (m, 3) of store, row in it, and query: all pairs of at least this similarity, maybe more.

        Args:
            unit: the queries, shape (q, d).

        Raises:
            TooManyPairsError: there are more than ``most``.
        """
        ...


class NumpyPairSearch:
    """In NumPy: all products of a block, then those that are great enough."""

    name = "numpy"

    def store(self, dimension: int) -> StoredVectors:
        """Return a store."""
        return StoredVectors(dimension)

    def candidates(self, stores: Sequence[StoredVectors], unit: Floats, threshold: float, most: int) -> Ints:
        """Return the candidates."""
        found, total = [np.empty((0, 3), dtype=np.int64)], 0
        for number, store in enumerate(stores):
            for start, block in store.blocks():
                scores = block @ unit.T
                rows, queries = np.nonzero(scores >= threshold - _FLOAT_ERROR)
                total += len(rows)
                if total > most:
                    raise TooManyPairsError(f"more than {most} pairs reach the threshold")
                found.append(np.stack([np.full(len(rows), number), rows + start, queries], axis=1))
        return np.concatenate(found)


class PackedVectors(StoredVectors):
    """Vectors that are stored in int8 too."""

    def __init__(self, dimension: int, packed: ScannedRows) -> None:
        super().__init__(dimension)
        self.packed = packed

    def append(self, unit: Floats) -> None:
        """Add unit vectors."""
        self.packed.append_vectors(unit)
        super().append(unit)


class NativePairSearch:
    """In C++; see ``sage_native``."""

    name = "native"

    def __init__(self, native: NativeScan) -> None:
        self._native = native

    def store(self, dimension: int) -> StoredVectors:
        """Return a store."""
        return PackedVectors(dimension, self._native.PackedRows(dimension))

    def candidates(self, stores: Sequence[StoredVectors], unit: Floats, threshold: float, most: int) -> Ints:
        """Return the candidates."""
        packed = [store.packed for store in stores if isinstance(store, PackedVectors)]
        try:
            return self._native.pairs_above(packed, unit, threshold, most, SCAN_THREADS)
        except OverflowError as error:
            raise TooManyPairsError(str(error)) from error


def best_pair_search() -> PairSearch:
    """Return the fastest search that is installed here."""
    native = native_scan()
    return NativePairSearch(native) if native is not None else NumpyPairSearch()


def distinct(numbers: Ints) -> list[int]:
    """Return the numbers that there are, sorted; most often there is one, which takes no sorting to find out."""
    if not len(numbers):
        return []
    first = int(numbers[0])
    return [first] if (numbers == first).all() else [int(number) for number in np.unique(numbers)]


class Pairs(NamedTuple):
    """Pairs: store, row in it, query, all int64 (m,), and their cosine similarity, float64 (m,)."""

    stores: Ints
    rows: Ints
    queries: Ints
    scores: npt.NDArray[np.float64]


def similar_pairs(
    search: PairSearch, stores: Sequence[StoredVectors], unit: Floats, threshold: float, most: int
) -> Pairs:
    """Return all pairs of at least this similarity, the same whichever search finds them.

    Args:
        unit: unit vectors, shape (q, d).
        most: pairs that may be held at once.

    Raises:
        TooManyPairsError: there are more.
    """
    found = search.candidates(stores, unit, threshold, most)
    scores = np.empty(len(found), dtype=np.float64)
    for number in distinct(found[:, 0]):
        at = np.flatnonzero(found[:, 0] == number)
        ours = stores[number].at(found[at, 1]).astype(np.float64)
        # Summed in float64 and rounded, so that scores do not depend on the machine.
        scores[at] = np.round(np.einsum("ij,ij->i", ours, unit[found[at, 2]].astype(np.float64)), 6)
    keep = scores >= threshold
    found = found[keep]
    return Pairs(found[:, 0], found[:, 1], found[:, 2], scores[keep])
