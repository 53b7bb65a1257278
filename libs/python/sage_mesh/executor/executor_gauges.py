"""What an executor's engines do now, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sage_control_plane.request.engine_state import EnginePhase, EngineState


class ExecutorGauges(Collector):
    """Figures of the engines that a process hosts, read at each scrape.

    Args:
        states: returns the engines as the heartbeats describe them.
    """

    def __init__(self, states: Callable[[], Iterable[EngineState]]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        engines = GaugeMetricFamily("sage_executor_engines", "Engines, by phase.", labels=["phase"])
        running = GaugeMetricFamily("sage_executor_running", "Requests that an engine runs.", labels=["engine"])
        seats = GaugeMetricFamily("sage_executor_seats", "Requests that an engine runs at once.", labels=["engine"])
        batch = GaugeMetricFamily(
            "sage_executor_batch", "Requests in the batches of an engine's server, as it says.", labels=["engine"]
        )
        waiting = GaugeMetricFamily(
            "sage_executor_waiting", "Requests in the queue of an engine's server, as it says.", labels=["engine"]
        )
        cache = GaugeMetricFamily(
            "sage_executor_kv_cache_usage", "Share of an engine's cache in use, as it says.", labels=["engine"]
        )
        phases = dict.fromkeys(EnginePhase, 0)
        for state in list(self._states()):
            engine_id = state.spec.engine_id
            phases[state.phase] += 1
            running.add_metric([engine_id], len(state.running))
            seats.add_metric([engine_id], state.spec.max_concurrency or 0)
            if (load := state.load) is not None:
                batch.add_metric([engine_id], load.running)
                waiting.add_metric([engine_id], load.waiting)
                cache.add_metric([engine_id], load.kv_cache_usage)
        for phase, count in phases.items():
            engines.add_metric([phase.name.lower()], count)
        yield from (engines, running, seats, batch, waiting, cache)
