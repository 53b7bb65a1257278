"""One engine of a pool."""

from __future__ import annotations

from dataclasses import dataclass, field

from sage_control_plane.pool.breaker import Breaker
from sage_control_plane.pool.credits import Credits
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.prediction.forecast import Forecast
from sage_control_plane.prediction.pace import Pace
from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_control_plane.request.request import Route


@dataclass(slots=True)
class EngineEntry:
    """An engine's state, load and credits, current to the last decision. Only ``EnginePool`` changes it.

    Attributes:
        seconds_per_token: the present estimate of its pace.
        forecast: its load, and predictions from it.
        dispatched: requests dispatched to it so far.
        running: attempts outstanding, by request id.
        prefill_pending: those of them whose prompts count as queued and whose answers do not show when the prompt is
            computed, by request id in order of dispatch.
        prompt_share: its queued prompts as a share of the most with which it still gets work; at most 1.
        free: whether every engine filter admits it.
        capacity: requests that it adds to the pool's capacity: its seats while it is usable, 0 otherwise.
        steady: requests with which it keeps the targets for the time between tokens even where more prompts come than
            usual; None where no target limits it.
        pace_known: whether its batch is limited by what keeps the targets for the time between tokens.
        untold_answers: streams that it has completed since it last said how many tokens one had.
        tightest_ms: smallest target for the time between tokens among the attempts outstanding; None without any.
        taken_in: times that its present report was taken in while it was at rest.
        dispatched_at_rest: ``dispatched`` at the first of them.
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
    running: dict[str, DispatchedAttempt] = field(default_factory=dict)
    prefill_pending: dict[str, DispatchedAttempt] = field(default_factory=dict)
    prompt_share: float = 0.0
    free: bool = False
    capacity: int = 0
    steady: int | None = None
    pace_known: bool = False
    untold_answers: int = 0
    tightest_ms: int | None = None
    taken_in: int = 0
    dispatched_at_rest: int = 0
    _tpot_targets: dict[int, int] = field(default_factory=dict)

    def add_tpot_target(self, target_ms: int) -> None:
        """Count an attempt with this target for the time between its tokens."""
        self._tpot_targets[target_ms] = self._tpot_targets.get(target_ms, 0) + 1
        if self.tightest_ms is None or target_ms < self.tightest_ms:
            self.tightest_ms = target_ms

    def remove_tpot_target(self, target_ms: int) -> None:
        """Undo one ``add_tpot_target``."""
        if self._tpot_targets[target_ms] > 1:
            self._tpot_targets[target_ms] -= 1
            return
        del self._tpot_targets[target_ms]
        self.tightest_ms = min(self._tpot_targets, default=None)

    @property
    def usable(self) -> bool:
        """Whether it takes work, apart from its credits."""
        return self.state.phase is EnginePhase.READY and not self.draining and self.breaker.admits

    @property
    def recoverable(self) -> bool:
        """Whether it takes work now or may do so again without an operator's order."""
        if self.draining or self.state.phase is EnginePhase.READY:
            return not self.draining
        return not self.state.given_up and self.state.phase not in (EnginePhase.DRAINING, EnginePhase.STOPPED)

    def serves(self, route: Route) -> bool:
        """Return whether it serves the route's model for the route's kind of work."""
        card = self.state.spec.card(route.model)
        return card is not None and route.kind in card.kinds
