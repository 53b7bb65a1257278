"""Nearest chunks through a graph of near neighbours, with an exact scan of the vectors that it does not have yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sage_libs.hnsw_graph import HnswGraph, Ints
from sage_libs.quantization import Floats, quantize
from sage_middleware.knowledge.vector_scan import VectorScan

# Candidates that are scored in float32 for each chunk that is wanted, and at least.
_CANDIDATES_EACH = 2
_LEAST_CANDIDATES = 100
# To ask the graph for more of them takes as long as an exact scan.
MOST_CANDIDATES = 2_000


class Neighbours(NamedTuple):
    """Chunks, best first: ``ids`` int64 (m,), ``scores`` float32 (m,) cosine similarities."""

    ids: Ints
    scores: Floats


class ApproximateSearch:
    """A graph, and what has come and gone since it was written.

    Args:
        expansion: candidates that the graph keeps while it is walked.
        changed: chunks whose vectors came or went, ascending: what the graph has of them is passed over.
        tail_ids, tail: those of them that are there now, ascending, and a scan of their vectors.
        stored: returns those of the chunks that are there, ascending, and their vectors in float32.
    """

    def __init__(
        self,
        graph: HnswGraph,
        expansion: int,
        changed: Ints,
        tail_ids: Ints,
        tail: VectorScan | None,
        stored: Callable[[Ints], tuple[Ints, Floats]],
    ) -> None:
        self._graph = graph
        self._expansion = expansion
        self._changed = changed
        self._tail_ids = tail_ids
        self._tail = tail
        self._stored = stored
        self.count = len(graph) - int(graph.contains(changed).sum()) + len(tail_ids)

    def nearest(self, unit: Floats, k: int, allowed: Ints | None = None) -> Neighbours | None:
        """Return the ``k`` nearest that are found; ties go to the lower chunk. None where fewer are found than may be.

        Args:
            unit: of length 1, shape (d,).
            allowed: chunks that may be found, ascending; None allows all.
        """
        possible = self.count if allowed is None else len(allowed)
        count = max(_LEAST_CANDIDATES, _CANDIDATES_EACH * k)
        if allowed is not None:
            # As many more as the filter will take away, where it takes evenly.
            count = int(1.5 * count * max(1.0, self.count / max(possible, 1)))
        if count > MOST_CANDIDATES:
            return None
        candidates = self._graph.search(quantize(unit[np.newaxis]).values[0], count, max(self._expansion, count))
        candidates = candidates[~np.isin(candidates, self._changed)]
        if allowed is not None:
            candidates = candidates[np.isin(candidates, allowed)]
        found = score_exactly(unit, *self._stored(candidates))
        if self._tail is not None and len(self._tail_ids):
            mask = None if allowed is None else np.isin(self._tail_ids, allowed)
            rows, scores = self._tail.nearest(unit, k, mask)
            found = _merged(found, Neighbours(self._tail_ids[rows], scores))
        if len(found.ids) < min(k, possible):
            return None
        return Neighbours(found.ids[:k], found.scores[:k])


def score_exactly(unit: Floats, ids: Ints, vectors: Floats) -> Neighbours:
    """Return chunks, ascending by id, by the similarity of their vectors (n, d)."""
    # What differs by rounding alone is equal, so that ties rank the same on every machine.
    scores = np.round(vectors @ unit, 6) if len(ids) else np.empty(0, dtype=np.float32)
    order = np.argsort(-scores, kind="stable")
    return Neighbours(ids[order], scores[order])


def _merged(one: Neighbours, other: Neighbours) -> Neighbours:
    ids, scores = np.concatenate([one.ids, other.ids]), np.concatenate([one.scores, other.scores])
    order = np.lexsort((ids, -scores))
    return Neighbours(ids[order], scores[order])
