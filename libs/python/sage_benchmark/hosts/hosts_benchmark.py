"""``sage bench hosts``: what three hosts with a bad network between them lose, and what a third host brings."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sage_benchmark.hosts.bed import DELAY_MS, GATEWAY_HOST, LOSS, Bed, bed
from sage_benchmark.hosts.checked_streams import CheckedStream, start_streams
from sage_benchmark.hosts.lease_history import overlaps
from sage_benchmark.load.closed_loop import percentile
from sage_benchmark.report.bars import Bar
from sage_benchmark.report.report_table import ReportTable
from sage_benchmark.resilience.resilience_result import ResilienceResult

HOST_DEATH_GAP_SECONDS = 3.0
NATS_GAP_SECONDS = 2.0
LEAST_SCALING = 0.95
LINK_SECONDS = 4.0
ALL_HOSTS = (1, 2, 3)


@dataclass(frozen=True)
class HostsPlan:
    """How much is measured.

    Attributes:
        streams: at once, in each of the parts but the death of a host.
        dying_streams: when a host dies.
        partition_seconds: how long the leading scheduler's host is cut off.
        streams_per_engine, goodput_tokens: of the part with one to three hosts.
    """

    streams: int = 30
    tokens: int = 150
    dying_streams: int = 50
    partition_seconds: float = 10.0
    streams_per_engine: int = 16
    goodput_tokens: int = 400
    seed: int = 1


@dataclass(frozen=True)
class Part:
    """What came of the streams of one part."""

    name: str
    streams: int
    lost: int
    doubled: int
    hung: int
    gap_p99_seconds: float


def run(plan: HostsPlan) -> ResilienceResult:
    """Bring the hosts up twice, measure, and take all down. Raises UnavailableError where there can be none."""
    with tempfile.TemporaryDirectory(prefix="sage-bench-") as scratch:
        with bed(Path(scratch) / "one", seed=plan.seed) as running:
            parts, fenced = _harmed(running, plan)
        with bed(Path(scratch) / "cluster", cluster=True, engine_hosts=ALL_HOSTS, seed=plan.seed) as running:
            nats = _nats_killed(running, plan)
            rates = _goodput(running, plan)
    every = [*parts, nats]
    death = next(part for part in parts if part.name == "a host dies")
    scaling = rates[3] / (3 * rates[1])
    death_name = f"gap p99, a host dies under {plan.dying_streams} streams"
    bars = [
        Bar("tokens lost, all parts", sum(part.lost for part in every), 0),
        Bar("tokens doubled, all parts", sum(part.doubled for part in every), 0),
        Bar("requests hung, all parts", sum(part.hung for part in every), 0),
        Bar(death_name, death.gap_p99_seconds, HOST_DEATH_GAP_SECONDS, "s"),
        Bar("longest gap p99, one of three NATS servers killed", nats.gap_p99_seconds, NATS_GAP_SECONDS, "s"),
        Bar("leaders at the same time, the leader's host cut off", fenced, 0),
        Bar("goodput of 3 hosts, of three times one", scaling, LEAST_SCALING, "×", at_most=False),
    ]
    return ResilienceResult("Three hosts", asdict(plan), _figures(every, rates, fenced), _tables(every, rates), bars)


def _harmed(running: Bed, plan: HostsPlan) -> tuple[list[Part], int]:
    def cut() -> None:
        running.network.cut((1, 2))
        time.sleep(LINK_SECONDS)
        running.network.mend()

    def isolate() -> None:
        running.network.isolate(leader)
        time.sleep(plan.partition_seconds)
        running.network.mend()

    parts = [_part(running, "nothing happens", plan.streams, plan.tokens, lambda: None)]
    killed = running.hosts[2].process("llm-coordinator")
    parts.append(_part(running, "a coordinator is killed", plan.streams, plan.tokens, killed.kill))
    running.hosts[2].wait_ready("llm-coordinator", not_pid=killed.pid)
    running.wait_ready()
    parts.append(_part(running, "a link is cut", plan.streams, plan.tokens, cut))
    running.wait_ready()
    leader = _leader_behind(running)
    before = len(running.terms())
    parts.append(_part(running, "the leader's host is cut off", plan.streams, 3 * plan.tokens, isolate))
    fenced = len(overlaps(running.terms()[before - 1 :]))
    running.wait_ready()
    parts.append(_part(running, "a host dies", plan.dying_streams, 3 * plan.tokens, lambda: running.hosts.power_off(3)))
    return parts, fenced


def _leader_behind(running: Bed) -> int:
    """Return the leading scheduler's host once it is another than the gateway's, which the clients are on."""
    while (leader := running.leader()) == GATEWAY_HOST:
        old = running.hosts[leader].process("scheduler")
        old.kill()
        running.hosts[leader].wait_ready("scheduler", not_pid=old.pid)
    return leader


def _nats_killed(running: Bed, plan: HostsPlan) -> Part:
    """Kill the server of each host in turn, in the midst of streams."""
    seen: list[CheckedStream] = []
    gaps = 0.0
    for host in (2, 3):
        killed = running.hosts[host].process("nats")
        part = _streams(running, f"nats{host}", plan.streams, plan.tokens, killed.kill)
        running.hosts[host].wait_ready("nats", not_pid=killed.pid)
        running.wait_ready(ALL_HOSTS)
        gaps = max(gaps, _gap_p99(part))
        seen += part
    return _counted("one of three NATS servers is killed", seen, gaps)


def _goodput(running: Bed, plan: HostsPlan) -> dict[int, float]:
    """Return tokens a second that arrive, by the number of hosts whose engines run."""
    found = {}
    for count in (3, 2, 1):
        began = time.monotonic()
        total = count * plan.streams_per_engine
        seen = _streams(running, f"goodput{count}", total, plan.goodput_tokens, lambda: None)
        good = sum(one.tokens for one in seen if one.whole)
        found[count] = good / (max(one.arrivals[-1] for one in seen if one.arrivals) - began)
        if count > 1:
            running.engines[ALL_HOSTS[count - 1]].kill()
            running.wait_ready(ALL_HOSTS[: count - 1])
    return found


def _part(running: Bed, name: str, count: int, tokens: int, harm: Callable[[], object]) -> Part:
    seen = _streams(running, name.replace(" ", "-").replace("'", ""), count, tokens, harm)
    return _counted(name, seen, _gap_p99(seen))


def _counted(name: str, seen: Sequence[CheckedStream], gap: float) -> Part:
    lost, doubled = sum(one.missing for one in seen), sum(one.doubled for one in seen)
    return Part(name, len(seen), lost, doubled, sum(one.hung for one in seen), gap)


def _gap_p99(seen: Sequence[CheckedStream]) -> float:
    return percentile([one.longest_gap_seconds for one in seen], 0.99)


def _streams(running: Bed, name: str, count: int, tokens: int, harm: Callable[[], object]) -> Sequence[CheckedStream]:
    async def through() -> Sequence[CheckedStream]:
        async with running.session() as session:
            begun = start_streams(session, name, count, tokens)
            await begun.under_way()
            await asyncio.to_thread(harm)
            return await begun.end()

    with running.network.inside(GATEWAY_HOST):
        return asyncio.run(through())


def _tables(parts: Sequence[Part], rates: dict[int, float]) -> list[ReportTable]:
    network = f"{DELAY_MS:g} ms each way and {100 * LOSS:g} % loss between the hosts"
    rows = [
        (
            part.name,
            str(part.streams),
            str(part.lost),
            str(part.doubled),
            str(part.hung),
            f"{part.gap_p99_seconds:.2f}",
        )
        for part in parts
    ]
    harm = ReportTable(
        "Three hosts", f"{network}; gaps are the longest of each stream",
        ("in the midst of the streams", "streams", "tokens lost", "doubled", "hung", "gap p99 s"), rows,
    )  # fmt: skip
    scale = ReportTable(
        "Goodput by hosts with an engine", "the same number of streams for each engine",
        ("hosts", "tokens/s", "of linear"),
        [(str(n), f"{rate:,.0f}", f"{rate / (n * rates[1]):.2f}") for n, rate in sorted(rates.items())],
    )  # fmt: skip
    return [harm, scale]


def _figures(parts: Sequence[Part], rates: dict[int, float], fenced: int) -> dict[str, object]:
    return {
        "parts": [asdict(part) for part in parts],
        "tokens_per_second": {str(count): rate for count, rate in rates.items()},
        "overlapping_terms": fenced,
    }
