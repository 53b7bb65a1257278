"""What ``sage bench streams`` found, beside its bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sage_benchmark.report.bars import Bar
from sage_benchmark.report.report_table import ReportTable
from sage_benchmark.resilience.resilience_result import LineChart, ResilienceResult
from sage_benchmark.resilience.stream_rung import BUSY_STEPS, SERVICES, Rung
from sage_benchmark.resilience.streams_plan import StreamsPlan

# Where the ladder ends: gaps that have grown by so much are felt.
GROWN_MS = 50.0
STALL_MS = 200.0
MEMORY_MB = 400.0
CARRIED_TOKENS_PER_SECOND = 40_000.0
# Of one token, in all services together, by tokens a second.
TOKEN_US = {2_000: 40.0, 10_000: 20.0}
TOO_BUSY = "too busy"


def streams_result(
    plan: StreamsPlan, held: Rung, ladder: Sequence[Rung], costs: Sequence[Rung] = ()
) -> ResilienceResult:
    """Put together what was measured.

    Args:
        held: the load that is held against the bars of gaps and memory.
        ladder: loads, each higher than the one before.
        costs: loads whose processor time is held against its bars.
    """
    carried = [rung for rung in ladder if rung.added_p99_ms <= GROWN_MS and not rung.failed]
    most = max((rung.tokens_per_second for rung in carried), default=0.0)
    figures = {
        "held": _values(held),
        "ladder": [_values(rung) for rung in ladder],
        "costs": [_values(rung) for rung in costs],
        "tokens_per_second_through_one_gateway": most,
    }
    bars = [
        _stall_bar(held),
        Bar(f"gateway, peak resident, {held.streams} streams", held.gateway_peak_mb, MEMORY_MB, "MB"),
        *(_cost_bar(plan, rung) for rung in costs),
    ]
    if ladder:
        name = "tokens/s through one gateway before gaps have grown by 50 ms"
        bars.append(Bar(name, most, CARRIED_TOKENS_PER_SECOND, "tokens/s", at_most=False))
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
    table = _table([held, *ladder, *costs])
    return ResilienceResult("Streams through one gateway", asdict(plan), figures, [table], bars, chart)


def _table(rungs: Sequence[Rung]) -> ReportTable:
    return ReportTable(
        "Streams",
        "gaps are between tokens at the client; added and stall are beyond the engine's own, and the machine is "
        f"{TOO_BUSY} to tell where that is above {BUSY_STEPS:g} steps; CPU is that of one token, with what "
        "a process uses when it is idle",
        (
            "streams",
            "tokens/s",
            "gap p50",
            "p99",
            "added p99",
            "stall ms",
            *(f"{name} µs" for name in SERVICES),
            "all µs",
            "MB",
        ),
        [
            (
                str(rung.streams),
                f"{rung.tokens_per_second:,.0f}",
                *(f"{ms:.0f}" for ms in (rung.gap_p50_ms, rung.gap_p99_ms, rung.added_p99_ms)),
                TOO_BUSY if rung.stall_ms is None else f"{rung.stall_ms:.0f}",
                *(f"{rung.cpu_us[name]:.1f}" for name in SERVICES),
                f"{rung.token_us:.1f}",
                f"{rung.gateway_peak_mb:.0f}",
            )
            for rung in rungs
        ],
    )


def _stall_bar(held: Rung) -> Bar:
    if held.stall_ms is not None:
        return Bar(f"longest gap beyond the engine's own, {held.streams} streams", held.stall_ms, STALL_MS, "ms")
    engine = f"the machine is too busy to tell how much is the engine's, whose longest is {held.engine_max_ms:.0f} ms"
    return Bar(f"longest gap, {held.streams} streams; {engine}", held.gap_max_ms, STALL_MS, "ms")


def _cost_bar(plan: StreamsPlan, rung: Rung) -> Bar:
    rate = min(TOKEN_US, key=lambda rate: abs(rate - rung.streams * 1e3 / plan.cost_gap_ms))
    return Bar(f"processor time of a token in all services, {rate:,} tokens/s", rung.token_us, TOKEN_US[rate], "µs")


def _values(rung: Rung) -> dict[str, object]:
    return {
        **asdict(rung),
        "added_p99_ms": rung.added_p99_ms,
        "stall_ms": rung.stall_ms,
        "token_us": rung.token_us,
    }
