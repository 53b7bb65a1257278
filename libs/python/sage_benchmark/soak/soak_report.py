"""What a soak found: tables, figures with their bars, and a chart of memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sage_benchmark.hosts.bed import DELAY_MS, LOSS
from sage_benchmark.report.bars import Bar
from sage_benchmark.report.report_table import ReportTable
from sage_benchmark.resilience.resilience_result import LineChart, ResilienceResult
from sage_benchmark.soak.accounts import Account, Kill, Verdict, problems, tally
from sage_benchmark.soak.killed_processes import counted
from sage_benchmark.soak.long_work import LongWork, doubled
from sage_benchmark.soak.memory import Growth, MemoryWatch
from sage_benchmark.soak.soak_bed import HOSTS
from sage_benchmark.soak.soak_plan import SoakPlan, Work

SHOWN_PROBLEMS = 40
CHARTED = tuple(f"{name}, host 1" for name in ("gateway", "scheduler", "llm-coordinator", "nats"))


@dataclass
class SoakOutcome:
    """What came of it.

    Attributes:
        left: requests that the mesh still counts when every client has its answer.
        restarts: of supervised processes, by host.
    """

    plan: SoakPlan
    accounts: Sequence[Account]
    kills: Sequence[Kill]
    growths: Sequence[Growth]
    memory: MemoryWatch
    left: int
    restarts: dict[int, int]
    work: LongWork
    seconds: float


def result_of(outcome: SoakOutcome) -> ResilienceResult:
    """Return tables, figures and bars."""
    plan, counts = outcome.plan, tally(outcome.accounts, outcome.kills)
    total: Counter[Verdict] = sum(counts.values(), Counter())
    wrong = problems(outcome.accounts, outcome.kills)
    growing = [one.name for one in outcome.growths if not one.is_flat]
    followed = [one for one in outcome.growths if one.mb_per_minute is not None]
    bars = [
        Bar("requests lost, doubled or wrong", total[Verdict.UNEXPLAINED], 0),
        Bar("requests hung", total[Verdict.HUNG], 0),
        Bar("requests accounted for twice", len(doubled(outcome.accounts)), 0),
        Bar("requests still counted by the mesh at the end", outcome.left, 0),
        Bar("processes whose memory grew", len(growing), 0),
        Bar(
            "kills, of those that were due",
            len(outcome.kills),
            int(plan.seconds / plan.kill_seconds) - 1,
            "",
            at_most=False,
        ),
    ]
    figures: dict[str, Any] = {
        "seconds": outcome.seconds,
        "requests": {work.name.lower(): _counts(found) for work, found in counts.items()},
        "problems": wrong[:SHOWN_PROBLEMS],
        "kills": [asdict(kill) for kill in outcome.kills],
        "restarts_by_host": {str(host): count for host, count in outcome.restarts.items()},
        "batches": outcome.work.batches,
        "jobs": outcome.work.jobs,
        "calls_broken": outcome.work.calls.broken,
        "calls_refused": outcome.work.calls.refused,
        "memory": [{**asdict(one), "growth_mb": one.growth_mb, "is_flat": one.is_flat} for one in followed],
        "growing": growing,
    }
    tables = [_requests(outcome, counts), _kills(outcome), _memory(followed)]
    return ResilienceResult("Soak", asdict(plan), figures, tables, bars, _chart(outcome.memory))


def _counts(found: Counter[Verdict]) -> dict[str, int]:
    return {verdict.name.lower(): found[verdict] for verdict in Verdict}


def _requests(outcome: SoakOutcome, counts: dict[Work, Counter[Verdict]]) -> ReportTable:
    network = f"{DELAY_MS:g} ms each way and {100 * LOSS:g} % loss between the hosts"
    rows = [
        (work.value, str(found.total()), *(str(found[verdict]) for verdict in Verdict))
        for work, found in counts.items()
    ]  # fmt: skip
    return ReportTable(
        f"Requests of {outcome.plan.seconds:g} s, a process killed every {outcome.plan.kill_seconds:g} s", network,
        ("", "asked", *(verdict.value for verdict in Verdict)), rows,
    )  # fmt: skip


def _kills(outcome: SoakOutcome) -> ReportTable:
    rows = [
        (service, *(str(of_service.get(host, 0)) for host in HOSTS))
        for service, of_service in sorted(counted(outcome.kills).items())
    ]
    columns = ("killed", *(f"host {host}" for host in HOSTS))
    return ReportTable("Kills", "kill -9; supervisors bring back what they run", columns, rows)


def _memory(followed: Sequence[Growth]) -> ReportTable:
    rows = [
        (
            one.name,
            str(one.lives),
            f"{one.followed_seconds / 60:.0f}",
            f"{one.resident_mb:.0f}",
            f"{one.mb_per_minute:+.2f}",
            f"{one.growth_mb:+.1f}" + ("" if one.is_flat else " GROWS"),
        )
        for one in followed
    ]
    return ReportTable(
        "Resident memory in the second half", "within lives, from their warm-up on; what lived too short is left out",
        ("process", "lives", "followed min", "MB", "MB/min", "over the half MB"), rows,
    )  # fmt: skip


def _chart(memory: MemoryWatch) -> LineChart:
    """The lives of some; a line that begins again low is of a process that was killed."""
    lines = {
        name: [(at / 60, mb) for life in lives.values() for at, mb in life.resident]
        for name, lives in memory.lives.items()
        if name in CHARTED
    }
    return LineChart("Resident memory, host 1", "minutes", "MB", lines)
