"""Joining lists of results that were ordered by scores of different kinds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

# Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet", SIGIR 2009, take 60, for lists of a
# thousand. Lists here have fifty, and the first places say more.
RRF_CONSTANT = 20


def reciprocal_rank_fusion(lists: Sequence[Sequence[K]], weights: Mapping[K, float] | None = None) -> dict[K, float]:
    """Return each key's score: the sum of ``1 / (20 + rank)`` over the lists, ranks from 1, times the key's weight."""
    scores: dict[K, float] = {}
    for ranked in lists:
        for rank, key in enumerate(ranked, start=1):
            scores[key] = scores.get(key, 0.0) + 1.0 / (RRF_CONSTANT + rank)
    if weights:
        scores = {key: score * weights.get(key, 1.0) for key, score in scores.items()}
    return scores
