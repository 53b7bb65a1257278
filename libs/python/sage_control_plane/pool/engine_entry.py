"""One engine in the scheduler's entries."""

from __future__ import annotations

from dataclasses import dataclass, field

from sage_control_plane.pool.breaker import Breaker
from sage_control_plane.pool.credits import Credits
from sage_control_plane.prediction.forecast import Forecast
from sage_control_plane.prediction.pace import Pace
from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_control_plane.request.request import Route
from sage_control_plane.tracking.tracked_request import Job


@dataclass(slots=True)
class EngineEntry:
    """What the scheduler knows of an engine, kept up to date with each decision.

    Attributes:
        seconds_per_token: the pace's present estimate.
        forecast: its load and what may be expected of it.
        dispatched: requests sent to it so far.
        running: requests outstanding, by id.
        prefill_pending: those of them whose prompts count as queued and whose answers do not show when the prompt is
            computed, in order of dispatch.
        prompt_share: its queue of prompts, as a share of the longest one with which it still gets work; at most 1.
        free: whether every engine filter admits it.
        capacity: requests that it adds to the pool's capacity: its cap while it is usable, else 0.
        tightest_ms: smallest target for the time between tokens among the requests outstanding; 0 for none.
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
    prefill_pending: dict[str, Job] = field(default_factory=dict)
    prompt_share: float = 0.0
    free: bool = False
    capacity: int = 0
    tightest_ms: int = 0
    _paced: dict[int, int] = field(default_factory=dict)

    def pace_to(self, target_ms: int) -> None:
        """A request with this target for the time between its tokens is outstanding."""
        self._paced[target_ms] = self._paced.get(target_ms, 0) + 1
        if not self.tightest_ms or target_ms < self.tightest_ms:
            self.tightest_ms = target_ms

    def unpace(self, target_ms: int) -> None:
        """It is outstanding no more."""
        if self._paced[target_ms] > 1:
            self._paced[target_ms] -= 1
            return
        del self._paced[target_ms]
        self.tightest_ms = min(self._paced, default=0)

    @property
    def usable(self) -> bool:
        """Whether it takes work, credit aside."""
        return self.state.phase is EnginePhase.READY and not self.draining and self.breaker.admits

    @property
    def recoverable(self) -> bool:
        """Whether it takes work now or may do so again without anybody's order."""
        return not self.draining and self.state.phase not in (EnginePhase.DRAINING, EnginePhase.STOPPED)

    def serves(self, route: Route) -> bool:
        """Whether it serves the route's model for the route's kind of work."""
        card = self.state.spec.card(route.model)
        return card is not None and route.kind in card.kinds
