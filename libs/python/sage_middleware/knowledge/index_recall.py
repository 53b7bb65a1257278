"""How much of the truly nearest an approximate search finds, measured on a collection's own vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sage_libs.hnsw_graph import Ints
from sage_libs.quantization import Floats
from sage_middleware.knowledge.approximate_search import Neighbours
from sage_middleware.knowledge.collection import Collection
from sage_middleware.knowledge.vector_rows import stored_vectors, vector_blocks

NEAREST = 10
SAMPLES = 64
# What float32 arithmetic in another order may make of one score.
_ROUNDING = 2e-6


@dataclass(frozen=True, slots=True)
class RecallSample:
    """Stored vectors, and how near their nearest ten are by an exact scan.

    Attributes:
        ids: of the sampled chunks, int64 (s,).
        vectors: theirs, float32 (s, d).
        floors: similarity of the tenth nearest to each, itself left out, float32 (s,).
        others: how many nearest there are, 10 or all.
    """

    ids: Ints
    vectors: Floats
    floors: Floats
    others: int


def draw_sample(
    collection: Collection, *, samples: int = SAMPLES, seed: int = 0, on_block: Callable[[], None] = lambda: None
) -> RecallSample:
    """Draw vectors and scan all for their nearest.

    Args:
        on_block: called now and then; what it raises ends the scan.
    """
    every = np.array([row[0] for row in collection.select("SELECT id FROM chunks")], dtype=np.int64)
    drawn = np.random.default_rng(seed).choice(every, min(samples, len(every)), replace=False)
    ids, vectors = stored_vectors(collection, drawn)
    others = max(0, min(NEAREST, len(every) - 1))
    best = np.full((len(ids), others), -np.inf, dtype=np.float32)
    for block_ids, block in vector_blocks(collection):
        on_block()
        scores = vectors @ block.T
        scores[ids[:, np.newaxis] == block_ids] = -np.inf
        both = np.concatenate([best, scores], axis=1)
        best = np.partition(both, both.shape[1] - others, axis=1)[:, both.shape[1] - others :] if others else best
    floors = best.min(axis=1) if others else np.empty(len(ids), dtype=np.float32)
    return RecallSample(ids, vectors, floors, others)


def recall_of(sample: RecallSample, find: Callable[[Floats, int], Neighbours | None]) -> float:
    """Return recall@10: the share of the nearest ten that ``find`` finds, itself left out.

    What is as near as the tenth counts, whichever of equals it is.

    Args:
        find: returns the nearest to a vector of length 1; None where that one is scanned exactly.
    """
    shares = []
    for own, vector, floor in zip(sample.ids, sample.vectors, sample.floors, strict=True):
        found = find(vector, sample.others + 1)
        if found is None or not sample.others:
            shares.append(1.0)
            continue
        scores = found.scores[found.ids != own][: sample.others]
        shares.append(float(np.count_nonzero(scores >= floor - _ROUNDING)) / sample.others)
    return float(np.mean(shares)) if shares else 1.0
