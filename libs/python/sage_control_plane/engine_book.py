"""One engine in the scheduler's books."""

from __future__ import annotations

from dataclasses import dataclass, field

from sage_control_plane.breaker import Breaker
from sage_control_plane.credits import Credits
from sage_control_plane.engines import EnginePhase, EngineState
from sage_control_plane.jobs import Job
from sage_control_plane.pace import Pace
from sage_control_plane.prediction.forecast import Forecast
from sage_control_plane.requests import Route


@dataclass(slots=True)
class EngineBook:
    """What the scheduler knows of an engine, kept up to date with each decision.

    Attributes:
        seconds_per_token: the pace's present estimate.
        forecast: its load and what may be expected of it.
        dispatched: requests sent to it so far.
        running: requests outstanding, by id.
        unseen: those of them whose prompts count as queued and whose answers will not tell when they are computed,
            in order of dispatch.
        prompt_share: its queue of prompts, as a share of the longest one with which it still gets work; at most 1.
        free: whether every engine filter admits it.
        capacity: requests that it adds to the pool's capacity: its cap while it is usable, else 0.
    """

    engine_id: str
    state: EngineState
    credits: Credits
    breaker: Breaker
    pace: Pace
    seconds_per_token: float
    forecast: Forecast
    draining: bool = False
    dispatched: int = 0
    running: dict[str, Job] = field(default_factory=dict)
    unseen: dict[str, Job] = field(default_factory=dict)
    prompt_share: float = 0.0
    free: bool = False
    capacity: int = 0

    @property
    def usable(self) -> bool:
        """Whether it takes work, credit aside."""
        return self.state.phase is EnginePhase.READY and not self.draining and self.breaker.admits

    @property
    def hopeful(self) -> bool:
        """Whether it takes work now or may do so again without anybody's order."""
        return not self.draining and self.state.phase not in (EnginePhase.DRAINING, EnginePhase.STOPPED)

    def serves(self, route: Route) -> bool:
        """Whether it serves the route's model for the route's kind of work."""
        card = self.state.spec.card(route.model)
        return card is not None and route.kind in card.kinds
