"""Ways to find the nearest of many vectors exactly, each with two threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sage_libs.quantization import Floats, Quantized, quantize
from sage_libs.vector_pairs import Ints
from sage_middleware.knowledge.vector_scan import FusedScan, VectorScan

THREADS = 2
Find = Callable[[Floats, int], list[Ints]]


def native(unit: Floats, codes: Quantized) -> Find:
    """The kernel of ``sage-native``, and float32 for its candidates."""
    scan = VectorScan(codes, lambda rows: unit[rows], FusedScan)
    return lambda queries, k: [found.rows for found in scan.nearest_to_each(queries, k)]


def numkong(unit: Floats, codes: Quantized) -> Find:
    """All int8 products by numkong, selection by NumPy, float32 for the candidates."""
    import numkong as kernels

    def find(queries: Floats, k: int) -> list[Ints]:
        asked = quantize(queries)
        dots = np.asarray(kernels.cdist(asked.values, codes.values, "dot", threads=THREADS)).astype(np.float32)
        found = []
        for query, row, scale, error in zip(queries, dots, asked.scales, asked.errors, strict=True):
            estimates = row * (codes.scales * scale)
            bounds = error + codes.errors * (1 + error) + np.float32(2e-6)
            floor = np.partition(estimates - bounds, -k)[-k]
            candidates = np.flatnonzero(estimates + bounds >= floor)
            found.append(candidates[np.argsort(-(unit[candidates] @ query), kind="stable")[:k]])
        return found

    return find


def numpy(unit: Floats, codes: Quantized) -> Find:
    """One float32 product of matrices, and a partition of each row."""

    def find(queries: Floats, k: int) -> list[Ints]:
        scores = queries @ unit.T
        best = np.argpartition(scores, -k, axis=1)[:, -k:]
        return list(np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1))

    return find


def faiss(unit: Floats, codes: Quantized) -> Find:
    """A flat index, which multiplies matrices from the first query on."""
    import faiss as library

    library.omp_set_num_threads(THREADS)
    library.cvar.distance_compute_blas_threshold = 1
    index: Any = library.IndexFlatIP(unit.shape[1])
    index.add(unit)
    return lambda queries, k: list(index.search(queries, k)[1])


def usearch(unit: Floats, codes: Quantized) -> Find:
    """Its exact search."""
    from usearch import index

    search: Any = index.search

    def find(queries: Floats, k: int) -> list[Ints]:
        matches = search(unit, queries, k, "ip", exact=True, threads=THREADS)
        return list(np.asarray(matches.keys).reshape(len(queries), -1).astype(np.int64))

    return find


OPPONENTS: dict[str, Callable[[Floats, Quantized], Find]] = {
    "native": native,
    "numkong": numkong,
    "numpy": numpy,
    "faiss": faiss,
    "usearch": usearch,
}
