"""Joining what was found by vectors with what was found by words, whose scores are of different kinds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

# How much similarity counts beside words, of 1. Chosen on the tuning half of the labelled questions (ADR 46).
VECTOR_SHARE = 0.8


def convex_combination(
    similarities: Mapping[K, float], word_scores: Mapping[K, float], weights: Mapping[K, float] | None = None
) -> dict[K, float]:
    """Return each key's score, the weighted mean of similarity and word score, times the key's weight.

    Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS 2023. Similarities below 0 count
    as 0, and word scores as shares of the highest: both begin at what says nothing.

    Args:
        similarities: cosines; of what has none it counts as 0.
        word_scores: BM25, higher is better; likewise.
    """
    highest = max(word_scores.values(), default=0.0)
    scores = {}
    for key in dict.fromkeys([*similarities, *word_scores]):
        by_words = word_scores.get(key, 0.0) / highest if highest > 0 else 0.0
        by_vector = max(similarities.get(key, 0.0), 0.0)
        scores[key] = VECTOR_SHARE * by_vector + (1.0 - VECTOR_SHARE) * by_words
    if weights:
        scores = {key: score * weights.get(key, 1.0) for key, score in scores.items()}
    return scores
