"""The weights of the scorers, which are settings; the scorers are made by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from annotated_types import Ge

from sage_common.setting_marks import Alias
from sage_control_plane.placement import scorers
from sage_control_plane.placement.scorers import Scorer
from sage_control_plane.pool.prefix_index import PrefixIndex

Weight = Annotated[float, Ge(0)]


def _weight(default: float, make: Callable[[PrefixIndex], Scorer], prefers: str) -> Any:
    return field(default=default, metadata={"make": make, "description": f"placement: {prefers}"})


@dataclass(frozen=True, slots=True)
class ScorerWeights:
    """The scorers with their weights; 0 leaves one out. A line here is all that a scorer needs."""

    least_work: Annotated[Weight, Alias("least_work_weight")] = _weight(
        1.0, lambda _: scorers.LeastWork(), "the engine that is through with everything soonest"
    )
    soonest: Annotated[Weight, Alias("soonest_weight")] = _weight(
        1.0, scorers.SoonestStart, "the engine predicted to begin soonest"
    )
    headroom: Annotated[Weight, Alias("headroom_weight")] = _weight(
        0.0, scorers.PredictedHeadroom, "the engine that can just meet the targets, so that others stay free"
    )
    prefix: Annotated[Weight, Alias("prefix_weight")] = _weight(
        1.0, scorers.PrefixAffinity, "the engine that has the prompt's beginning cached"
    )
    session: Annotated[Weight, Alias("session_weight")] = _weight(
        0.25, scorers.SessionAffinity, "the engine that had the session's last request (prompt_cache_key, or user)"
    )

    def __post_init__(self) -> None:
        """Raise ValueError when a weight is negative or all are 0."""
        weights = [getattr(self, scorer.name) for scorer in fields(self)]
        if min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(f"scorer weights are {self}; none may be negative and one must be above 0")


def make_scorers(weights: ScorerWeights, prefixes: PrefixIndex) -> list[tuple[Scorer, float]]:
    """Make the scorers whose weight is above 0, each with its weight."""
    weighted = [(scorer.metadata["make"], getattr(weights, scorer.name)) for scorer in fields(weights)]
    return [(make(prefixes), weight) for make, weight in weighted if weight > 0]
