"""``sage bench overload``: several times what the engines can do, for a minute, between two times of what they can.

Chats and completions are sent, the kinds of work that are refused at arrival: embeddings are short, bulk work waits.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import uvloop

from sage_benchmark.live.mesh_system import mesh_systems
from sage_benchmark.live.simulated_pool import SimulatedPool, simulated_pool
from sage_benchmark.load.closed_loop import percentile
from sage_benchmark.load.open_loop import OpenLoopPlan, run_open_loop
from sage_benchmark.report.bars import Bar
from sage_benchmark.report.outcome import RequestOutcome, level_of, meets
from sage_benchmark.report.report_table import ReportTable
from sage_benchmark.resilience.processor_times import ProcessorTimes
from sage_benchmark.resilience.resilience_result import LineChart, ResilienceResult
from sage_benchmark.resilience.watched_processes import WatchedProcesses
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.load_settings import LoadSettings
from sage_benchmark.workload.rendered_request import render
from sage_benchmark.workload.request_shapes import CHAT, GENERATE
from sage_control_plane.request.request import ServiceClass
from sage_platform.process_tuning import allow_many_open_files

SERVICES = ("gateway", "classifier", "scheduler", "llm-coordinator")
REFUSALS = (429, 503)
REFUSED_MS = 50.0
RECOVERED_SECONDS = 2.0
# Of the chats that arrive within it, too, enough have to be in time: the rest of a long calm hides a bad beginning.
RECOVERY_WINDOW_SECONDS = 1.0
HELD_SHARE = 0.95
GROWTH_SHARE = 1.1
# A refusal that took at least this share of the target for a first token was let in first, and refused as it became
# late; one that took less was on its way, or waited for a processor.
WAITED_SHARE = 0.8
# Of the overload, until its first late requests have been dealt with; see docs/adr/0035.
SETTLING_SECONDS = 10.0
WARM_UP_SECONDS = 5.0


@dataclass(frozen=True)
class OverloadPlan:
    """What is offered, as multiples of what saturates the engines.

    Attributes:
        calm_load: before and after.
        timeout_seconds: a request that is neither answered nor refused by then has failed.
    """

    engines: int = 3
    load: float = 5.0
    seconds: float = 60.0
    calm_load: float = 0.7
    calm_seconds: float = 15.0
    timeout_seconds: float = 75.0
    seed: int = 1


@dataclass(frozen=True)
class Phase:
    """What came of the requests that arrived in one part of the run.

    Attributes:
        attainment: share of the chats that were served within every target, of those served.
        good_per_second: chats a second that were.
        refused_p99_ms: from sending to the refusal; 0 where nothing was refused.
        refused_slowly: how many came later than they may.
        refused_waiting: those of them that were let in first, and refused as they became late, or later.
        sent_late_p99_ms: how far sending lagged the schedule. Where that is as long as refusals may take, the machine
            has no time for either side, and the refusals' times are its own.
        failed: neither served nor refused, by what went wrong.
    """

    name: str
    arrived: int
    served: int
    refused: int
    failed: Mapping[str, int]
    attainment: float
    good_per_second: float
    refused_p99_ms: float
    refused_slowly: int
    refused_waiting: int
    sent_late_p99_ms: float


def run(plan: OverloadPlan) -> ResilienceResult:
    """Start engines and a mesh, measure, and take all of it down."""
    allow_many_open_files()
    models = SimulatedModels()
    with (
        tempfile.TemporaryDirectory(prefix="sage-bench-") as scratch,
        simulated_pool(plan.engines, models) as pool,
        mesh_systems(Path(scratch), pool, {"SAGE": "hybrid"}) as [system],
    ):
        system.prepare()
        watched = WatchedProcesses(system.mesh, SERVICES)
        _sent(plan, pool, system.urls, _arrivals(plan, pool, WARM_UP_SECONDS, plan.calm_load), "w", None)
        began = time.monotonic()
        outcomes = _sent(plan, pool, system.urls, _all_arrivals(plan, pool), "o", watched)
    return _result(plan, outcomes, watched, began)


def _arrivals(plan: OverloadPlan, pool: SimulatedPool, seconds: float, load: float, seed: int = 0) -> list[Arrival]:
    settings = LoadSettings(plan.engines, seconds, load, shapes=(CHAT, GENERATE))
    return settings.arrivals(pool.config, plan.seed + seed)


def _all_arrivals(plan: OverloadPlan, pool: SimulatedPool) -> list[Arrival]:
    arrivals: list[Arrival] = []
    at = 0.0
    for number, (seconds, load) in enumerate(
        ((plan.calm_seconds, plan.calm_load), (plan.seconds, plan.load), (plan.calm_seconds, plan.calm_load))
    ):
        for arrival in _arrivals(plan, pool, seconds, load, number):
            arrivals.append(replace(arrival, at_seconds=at + arrival.at_seconds, index=len(arrivals)))
        at += seconds
    return arrivals


def _sent(
    plan: OverloadPlan,
    pool: SimulatedPool,
    urls: Sequence[str],
    arrivals: Sequence[Arrival],
    name: str,
    watched: WatchedProcesses | None,
) -> list[RequestOutcome]:
    requests = [(arrival, render(arrival, pool.models, name)) for arrival in arrivals]

    async def send() -> list[RequestOutcome]:
        ended = asyncio.Event()
        sampling = asyncio.create_task(watched.sample_until(ended)) if watched is not None else None
        try:
            return await run_open_loop(OpenLoopPlan(urls, plan.timeout_seconds), requests)
        finally:
            ended.set()
            if sampling is not None:
                await sampling

    return uvloop.run(send())


def _result(
    plan: OverloadPlan, outcomes: Sequence[RequestOutcome], watched: WatchedProcesses, began: float
) -> ResilienceResult:
    start, end = plan.calm_seconds, plan.calm_seconds + plan.seconds
    settled = start + min(SETTLING_SECONDS, plan.seconds / 2)
    last = end + plan.calm_seconds
    phases = [
        _phase("before", outcomes, 0.0, start),
        _phase(f"overload, first {settled - start:.0f} s", outcomes, start, settled),
        _phase("overload, the rest", outcomes, settled, end),
        _phase("after", outcomes, end, last),
    ]
    before, _, over, _ = phases
    memory = {
        name: (
            watched.peak_mb(name, until=began + settled),
            watched.peak_mb(name, since=began + settled, until=began + last),
        )
        for name in SERVICES
    }
    grown = max(after / first for first, after in memory.values() if first)
    refused = [_refused_ms(one) for one in outcomes if _is_refused(one)]
    recovery = _recovery_seconds(outcomes, end)
    bars = [
        Bar("interactive attainment of what is served in the overload", over.attainment, HELD_SHARE, at_most=False),
        Bar(
            "chats/s within their targets in the overload, against before",
            over.good_per_second / before.good_per_second if before.good_per_second else 0.0,
            1.0,
            "×",
            at_most=False,
        ),
        Bar("neither answered nor refused", sum(sum(phase.failed.values()) for phase in phases), 0),
        Bar("time to a refusal p99", percentile(refused, 0.99) if refused else 0.0, REFUSED_MS, "ms"),
        Bar("until chats are within their targets again", recovery, RECOVERED_SECONDS, "s"),
        Bar("resident memory after the first seconds of it, most grown service", grown, GROWTH_SHARE, "×"),
    ]
    table = ReportTable(
        "Overload",
        "attainment is the share of served chats that were within every target; let in: refused as they became late",
        (
            "phase",
            "arrived",
            "served",
            "refused",
            "failed",
            "attainment",
            "chats/s in time",
            "refused p99 ms",
            f"after {REFUSED_MS:.0f} ms",
            "of these let in",
            "sent late p99 ms",
        ),
        [
            (
                phase.name,
                *(f"{count:,}" for count in (phase.arrived, phase.served, phase.refused)),
                ", ".join(f"{count} {error}" for error, count in phase.failed.items()) or "0",
                f"{phase.attainment:.3f}",
                f"{phase.good_per_second:.1f}",
                f"{phase.refused_p99_ms:.1f}",
                f"{phase.refused_slowly:,}",
                f"{phase.refused_waiting:,}",
                f"{phase.sent_late_p99_ms:.1f}",
            )
            for phase in phases
        ],
    )
    shares = watched.processor_shares(began + start, began + end)
    tables = [table, *([_processors(shares)] if shares else [])]
    figures = {
        "processor_shares": {name: asdict(share) for name, share in shares.items()},
        "phases": [asdict(phase) for phase in phases],
        "recovery_seconds": recovery,
        "resident_mb": {name: {"first": first, "later": later} for name, (first, later) in memory.items()},
    }
    return ResilienceResult("Overload", asdict(plan), figures, tables, bars, _chart(outcomes, last))


def _processors(shares: Mapping[str, ProcessorTimes]) -> ReportTable:
    return ReportTable(
        "Processors in the overload",
        "of each second: on a processor, and ready to run while none was free, which delays what the process does",
        ("process", "ran", "waited"),
        [(name, f"{share.used:.2f} s", f"{share.waited:.3f} s") for name, share in shares.items()],
    )


def _phase(name: str, outcomes: Sequence[RequestOutcome], since: float, until: float) -> Phase:
    those = [one for one in outcomes if since <= one.arrival.at_seconds < until]
    served = [one for one in those if one.served]
    refused = [one for one in those if _is_refused(one)]
    chats = [one for one in served if _is_chat(one)]
    good = [one for one in chats if meets(one, level_of(one.arrival))]
    return Phase(
        name,
        len(those),
        len(served),
        len(refused),
        dict(Counter(one.error or f"http_{one.status}" for one in those if not one.served and not _is_refused(one))),
        len(good) / len(chats) if chats else 0.0,
        len(good) / max(1e-9, until - since),
        percentile([_refused_ms(one) for one in refused], 0.99) if refused else 0.0,
        sum(_refused_ms(one) > REFUSED_MS for one in refused),
        sum(_refused_ms(one) >= WAITED_SHARE * level_of(one.arrival).ttft_ms for one in refused),
        percentile([(one.sent_at - one.arrival.at_seconds) * 1e3 for one in those], 0.99) if those else 0.0,
    )


def _recovery_seconds(outcomes: Sequence[RequestOutcome], end: float) -> float:
    """Return how long after the overload chats arrive of which enough are within their targets, both within the next
    second and of all later ones; infinity where none do.
    """
    after = sorted(
        (one for one in outcomes if one.arrival.at_seconds >= end and _is_chat(one)),
        key=lambda one: one.arrival.at_seconds,
    )
    good = [meets(one, level_of(one.arrival)) for one in after]
    for place, one in enumerate(after):
        until = one.arrival.at_seconds + RECOVERY_WINDOW_SECONDS
        soon = sum(other.arrival.at_seconds < until for other in after[place:])
        if _are_enough(good[place:]) and _are_enough(good[place : place + soon]):
            return one.arrival.at_seconds - end
    return float("inf")


def _are_enough(good: Sequence[bool]) -> bool:
    return sum(good) >= HELD_SHARE * len(good)


def _is_chat(outcome: RequestOutcome) -> bool:
    return outcome.arrival.service_class is ServiceClass.INTERACTIVE


def _is_refused(outcome: RequestOutcome) -> bool:
    return outcome.status in REFUSALS


def _refused_ms(outcome: RequestOutcome) -> float:
    return ((outcome.finished_at or outcome.sent_at) - outcome.sent_at) * 1e3


def _chart(outcomes: Sequence[RequestOutcome], seconds: float) -> LineChart:
    """Chats by the second of their arrival."""
    lines: dict[str, list[tuple[float, float]]] = {"sent": [], "served within targets": [], "refused": []}
    for second in range(int(seconds)):
        those = [one for one in outcomes if second <= one.arrival.at_seconds < second + 1 and _is_chat(one)]
        lines["sent"].append((second, len(those)))
        lines["served within targets"].append((second, sum(meets(one, level_of(one.arrival)) for one in those)))
        lines["refused"].append((second, sum(map(_is_refused, those))))
    return LineChart("Chats in an overload", "arrival, s", "chats a second", lines)
