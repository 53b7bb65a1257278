"""Knobs of placement."""

from __future__ import annotations

from dataclasses import dataclass

from sage_control_plane.placement.headroom import PredictedHeadroom
from sage_control_plane.placement.prefix_affinity import PrefixAffinity
from sage_control_plane.placement.scorers import LeastWork, Scorer
from sage_control_plane.placement.soonest import SoonestStart
from sage_control_plane.pool.prefix_index import PrefixIndex


@dataclass(frozen=True, slots=True)
class ScorerWeights:
    """How much each scorer's opinion counts; 0 leaves it out.

    Attributes:
        least_work: the engine that is through with everything soonest.
        soonest: the engine predicted to begin soonest.
        headroom: the engine that can just meet the targets, so that others stay free.
        prefix: the engine that has the prompt's beginning cached.
    """

    least_work: float = 1.0
    soonest: float = 1.0
    headroom: float = 0.0
    prefix: float = 0.5

    def __post_init__(self) -> None:
        """Raise ValueError when a weight is negative or all are 0."""
        weights = (self.least_work, self.soonest, self.headroom, self.prefix)
        if min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(f"scorer weights are {self}; none may be negative and one must be above 0")


def make_scorers(weights: ScorerWeights, prefixes: PrefixIndex) -> list[tuple[Scorer, float]]:
    """Make the scorers that have a weight."""
    scorers: list[tuple[Scorer, float]] = [
        (LeastWork(), weights.least_work),
        (SoonestStart(prefixes), weights.soonest),
        (PredictedHeadroom(prefixes), weights.headroom),
        (PrefixAffinity(prefixes), weights.prefix),
    ]
    return [(scorer, weight) for scorer, weight in scorers if weight > 0]
