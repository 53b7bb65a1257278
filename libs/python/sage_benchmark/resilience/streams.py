"""``sage bench streams``: hundreds of streams at once through one gateway, and how many it carries.

The engine notes the gaps between its own writes while the mesh is measured: those are subtracted, so that what is left
is what the mesh, and the client on the same machine, added. Where the engine itself was kept from writing for long, the
longest gaps are nobody's: the machine was too busy.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import uvloop

from sage_benchmark.gateway_benchmark import static_engine
from sage_benchmark.http_client import fetch
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_benchmark.load.closed_loop import percentile
from sage_benchmark.report.bars import Bar
from sage_benchmark.report.report_table import ReportTable
from sage_benchmark.resilience.resilience_result import LineChart, ResilienceResult
from sage_benchmark.resilience.stream_load import StreamedLoad, stream_load
from sage_benchmark.resilience.watched_processes import WatchedProcesses
from sage_platform.process_tuning import allow_many_open_files

BODY = b'{"model":"static","stream":true,"messages":[{"role":"user","content":"Say something."}]}'
SERVICES = ("gateway", "classifier", "scheduler", "llm-coordinator", "nats")
SEATS = 4_096
# Where the ladder ends: gaps that have grown by so much are felt.
GROWN_MS = 50.0
STALL_MS = 200.0
MEMORY_MB = 400.0
# Times its step: an engine that was kept from the processor for longer was not the only one.
BUSY_STEPS = 3.0
TOO_BUSY = "too busy"


@dataclass(frozen=True)
class StreamsPlan:
    """How much to measure.

    Attributes:
        streams: of the load that is held against the bars.
        gap_ms: between two tokens of a stream at the engine.
        seconds: how long each stream of that load lasts, and those of the ladder.
        ladder: numbers of streams, each higher than the one before; the rest is left out once gaps have grown too far.
    """

    streams: int = 500
    gap_ms: float = 50.0
    seconds: float = 20.0
    ladder: tuple[int, ...] = (100, 250, 500, 750, 1000, 1400)
    ladder_seconds: float = 8.0
    ramp_seconds: float = 4.0

    def tokens(self, seconds: float) -> int:
        """Return how many tokens a stream of so many seconds has."""
        return max(2, round(seconds * 1e3 / self.gap_ms))


@dataclass(frozen=True)
class Rung:
    """One load. Times are milliseconds.

    Attributes:
        added_p99_ms: 99th of the gaps less the engine's own.
        step_ms: between two tokens at the engine, as it was told.
        stall_ms: the longest gap less the engine's own longest; None where the machine was too busy to tell.
        cpu_us: processor time of each service for a token.
    """

    streams: int
    failed: int
    tokens_per_second: float
    gap_p50_ms: float
    gap_p99_ms: float
    gap_max_ms: float
    engine_p99_ms: float
    engine_max_ms: float
    step_ms: float
    cpu_us: Mapping[str, float]
    gateway_peak_mb: float

    @property
    def added_p99_ms(self) -> float:
        return self.gap_p99_ms - self.engine_p99_ms

    @property
    def stall_ms(self) -> float | None:
        busy = self.engine_max_ms > BUSY_STEPS * self.step_ms
        return None if busy else self.gap_max_ms - self.engine_max_ms


def run(plan: StreamsPlan) -> ResilienceResult:
    """Start engines and a mesh, measure, and take all of it down.

    Raises:
        RuntimeError: a stream of the load that is measured did not come whole.
    """
    allow_many_open_files()
    with tempfile.TemporaryDirectory(prefix="sage-bench-") as scratch:
        rungs = []
        for index, (seconds, levels) in enumerate(
            ((plan.seconds, (plan.streams,)), (plan.ladder_seconds, plan.ladder))
        ):
            arguments = ("--tokens", str(plan.tokens(seconds)), "--gap-ms", str(plan.gap_ms), "--record-gaps")
            with static_engine(*arguments) as engine, _mesh(Path(scratch) / str(index), engine) as mesh:
                for streams in levels:
                    rungs.append(_measure(plan, mesh, engine, streams, seconds))
                    if rungs[-1].added_p99_ms > GROWN_MS:
                        break
    held, ladder = rungs[0], rungs[1:]
    if held.failed:
        raise RuntimeError(f"{held.failed} of {held.streams} streams did not come whole")
    return _result(plan, held, ladder)


def _mesh(directory: Path, engine: str) -> AbstractContextManager[IsolatedMesh]:
    engines = [{"kind": "openai", "name": "static", "url": engine, "max_concurrency": SEATS}]
    return isolated_mesh(
        directory,
        replicas={"embed-executor": 0, "dataflow-worker": 0},
        settings={"SAGE_LLM_COORDINATOR_ENGINES": json.dumps(engines)},
    )


def _measure(plan: StreamsPlan, mesh: IsolatedMesh, engine: str, streams: int, seconds: float) -> Rung:
    watched = WatchedProcesses(mesh, SERVICES)
    fetch(f"{engine}/gaps")  # begins anew
    before = watched.cpu_seconds()
    load = uvloop.run(_watched_load(plan, mesh, watched, streams, seconds))
    after = watched.cpu_seconds()
    own = orjson.loads(fetch(f"{engine}/gaps"))
    gaps = load.gaps_ms or [plan.gap_ms]
    of_each = plan.tokens(seconds)
    tokens = streams * of_each
    # While all of them are open.
    rate = streams * (of_each - 1) / max(1e-9, load.stream_seconds)
    return Rung(
        streams,
        load.failed,
        rate,
        percentile(gaps, 0.5),
        percentile(gaps, 0.99),
        max(gaps),
        own["p99_ms"],
        own["max_ms"],
        plan.gap_ms,
        {name: (after[name] - before[name]) / tokens * 1e6 for name in SERVICES},
        watched.peak_mb("gateway"),
    )


async def _watched_load(
    plan: StreamsPlan, mesh: IsolatedMesh, watched: WatchedProcesses, streams: int, seconds: float
) -> StreamedLoad:
    ended = asyncio.Event()
    sampling = asyncio.create_task(watched.sample_until(ended))
    try:
        return await stream_load(
            mesh.gateway_url, BODY, streams=streams, ramp_seconds=plan.ramp_seconds, stream_seconds=seconds
        )
    finally:
        ended.set()
        await sampling


def _result(plan: StreamsPlan, held: Rung, ladder: Sequence[Rung]) -> ResilienceResult:
    rungs = [held, *ladder]
    carried = [rung for rung in ladder if rung.added_p99_ms <= GROWN_MS and not rung.failed]
    most = max((rung.tokens_per_second for rung in carried), default=0.0)
    bars = [
        _stall_bar(held),
        Bar(f"gateway, peak resident, {held.streams} streams", held.gateway_peak_mb, MEMORY_MB, "MB"),
    ]
    table = ReportTable(
        "Streams",
        "gaps are between tokens at the client; added and stall are beyond the engine's own, and the machine is "
        f"{TOO_BUSY} to tell where that is above {BUSY_STEPS:g} steps; CPU is that of one token, with what "
        "a process uses when it is idle",
        ("streams", "tokens/s", "gap p50", "p99", "added p99", "stall ms", *(f"{name} µs" for name in SERVICES), "MB"),
        [
            (
                str(rung.streams),
                f"{rung.tokens_per_second:,.0f}",
                *(f"{ms:.0f}" for ms in (rung.gap_p50_ms, rung.gap_p99_ms, rung.added_p99_ms)),
                TOO_BUSY if rung.stall_ms is None else f"{rung.stall_ms:.0f}",
                *(f"{rung.cpu_us[name]:.0f}" for name in SERVICES),
                f"{rung.gateway_peak_mb:.0f}",
            )
            for rung in rungs
        ],
    )
    chart = LineChart(
        "What streams cost",
        "tokens a second",
        "ms, or µs of processor time a token",
        {
            "99th of the gaps beyond the engine's own, ms": [(r.tokens_per_second, r.added_p99_ms) for r in ladder],
            "gateway, µs a token": [(r.tokens_per_second, r.cpu_us["gateway"]) for r in ladder],
            "llm-coordinator, µs a token": [(r.tokens_per_second, r.cpu_us["llm-coordinator"]) for r in ladder],
        },
    )
    figures = {
        "held": _values(held),
        "ladder": [_values(rung) for rung in ladder],
        "tokens_per_second_through_one_gateway": most,
    }
    return ResilienceResult("Streams through one gateway", asdict(plan), figures, [table], bars, chart)


def _stall_bar(held: Rung) -> Bar:
    if held.stall_ms is not None:
        return Bar(f"longest gap beyond the engine's own, {held.streams} streams", held.stall_ms, STALL_MS, "ms")
    engine = f"the machine is too busy to tell how much is the engine's, whose longest is {held.engine_max_ms:.0f} ms"
    return Bar(f"longest gap, {held.streams} streams; {engine}", held.gap_max_ms, STALL_MS, "ms")


def _values(rung: Rung) -> dict[str, object]:
    return {**asdict(rung), "added_p99_ms": rung.added_p99_ms, "stall_ms": rung.stall_ms}
