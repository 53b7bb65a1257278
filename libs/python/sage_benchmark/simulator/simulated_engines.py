"""Engine models on one clock."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from sage_benchmark.simulated_engine.engine_model import EngineModel
from sage_benchmark.simulated_engine.engine_work import Emission, EngineWork, LostWork
from sage_benchmark.simulator.simulation_plan import SimulationPlan


class SimulatedEngines:
    """The engines, and which of them has something to say next. O(log engines) an event."""

    def __init__(self, plan: SimulationPlan) -> None:
        self.models = [EngineModel(plan.engine) for _ in range(plan.engines)]
        self.dead: set[int] = set()
        self._next: list[tuple[float, int]] = []
        self._armed: list[float] = [float("inf")] * plan.engines

    def next_at(self) -> float:
        """When an engine has something to say next."""
        heap, armed = self._next, self._armed
        while heap and armed[heap[0][1]] != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else float("inf")

    def due(self, now: float) -> Iterator[tuple[int, list[Emission]]]:
        """Yield what engines have emitted up to now."""
        while self.next_at() <= now:
            index = heapq.heappop(self._next)[1]
            self._armed[index] = float("inf")
            emissions = self.models[index].advance(now)
            self._arm(index)
            if emissions:
                yield index, emissions

    def submit(self, index: int, now: float, work: EngineWork) -> None:
        """Give an engine a request; a dead one forgets it."""
        if index not in self.dead:
            self.models[index].submit(now, work)
            self._arm(index)

    def cancel(self, index: int, now: float, key: str) -> None:
        """Have an engine stop a request, if it has it."""
        if index not in self.dead and self.models[index].holds(key):
            self.models[index].cancel(now, key)
            self._arm(index)

    def stop(self, index: int, now: float, key: str) -> int | None:
        """Have an engine stop a request; return the tokens that it had, None where it is over or its engine is dead."""
        model = self.models[index]
        if index in self.dead or not model.holds(key):
            return None
        model.generated(now, key)
        stopped = model.cancel(now, key) if model.holds(key) else None
        self._arm(index)
        return stopped

    def slow_down(self, index: int, now: float, factor: float) -> None:
        """Make every step of an engine take ``factor`` times as long."""
        self.models[index].set_slowdown(now, factor)
        self._arm(index)

    def kill(self, index: int, now: float) -> list[LostWork]:
        """Kill an engine; return what it had."""
        lost = self.models[index].fail(now)
        self.dead.add(index)
        self._armed[index] = float("inf")
        return lost

    def _arm(self, index: int) -> None:
        at = self.models[index].next_event_at
        if at is None:
            self._armed[index] = float("inf")
        elif at != self._armed[index]:
            self._armed[index] = at
            heapq.heappush(self._next, (at, index))
