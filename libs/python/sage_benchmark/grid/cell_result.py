"""What a policy made of one cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sage_benchmark.bound.reach import Reach
from sage_benchmark.grid.grid_cell import GridWorkload
from sage_benchmark.report.metrics import Percentiles
from sage_benchmark.report.outcome import RequestOutcome, level_of, meets
from sage_control_plane.request.request import ServiceClass

# Requests after which a pool that was told nothing is to have found its engines' size.
LEARNED_AFTER = 200


@dataclass(frozen=True, slots=True)
class Played:
    """Figures of one run.

    Attributes:
        reach: bulk answers count in its goodput where they are complete before the time of arrivals is over.
        learned: attainment of the chats after the first ``LEARNED_AFTER`` requests; None without one.
        bulk_tokens_per_second: while requests arrive; an answer's tokens are spread evenly from its dispatch to
            its end.
        bulk_done: share of the bulk answers that were complete before the time of arrivals was over.
    """

    reach: Reach
    learned: float | None
    chats: int
    ttft: Percentiles
    tpot: Percentiles
    bulk_tokens_per_second: float
    bulk_done: float

    @staticmethod
    def of(outcomes: Sequence[RequestOutcome], seconds: float) -> Played:
        """Take them from all outcomes of a run in which requests arrived for ``seconds``."""
        chats = [o for o in outcomes if o.arrival.service_class is ServiceClass.INTERACTIVE]
        bulk = [o for o in outcomes if o.arrival.service_class is ServiceClass.BULK]
        met = [o for o in chats if meets(o, level_of(o.arrival))]
        later = sum(o.arrival.index >= LEARNED_AFTER for o in chats)
        done = sum(o.served and o.finished_at is not None and o.finished_at <= seconds for o in bulk)
        return Played(
            Reach(len(met) / len(chats) if chats else 1.0, (len(met) + done) / seconds),
            sum(o.arrival.index >= LEARNED_AFTER for o in met) / later if later else None,
            len(chats),
            Percentiles.of(o.ttft_seconds for o in chats if o.ttft_seconds is not None),
            Percentiles.of(o.tpot_seconds for o in chats if o.tpot_seconds is not None),
            sum(_tokens_before(o, seconds) for o in bulk) / seconds,
            done / len(bulk) if bulk else 1.0,
        )


def _tokens_before(outcome: RequestOutcome, seconds: float) -> float:
    if outcome.finished_at is None or not outcome.tokens:
        return 0.0
    began = outcome.arrival.at_seconds + outcome.queue_ms / 1000
    took = max(outcome.finished_at - began, 1e-9)
    return outcome.tokens * min(1.0, max(0.0, seconds - began) / took)


@dataclass(frozen=True, slots=True)
class CellResult:
    """One policy in one cell, and the yardsticks.

    Attributes:
        told: whether the engines' size was told.
        best: what the best clairvoyant heuristic reaches; None where none was played.
        bound: what no order can exceed; None where it was not computed.
    """

    workload: GridWorkload
    policy: str
    told: bool
    played: Played
    best: Reach | None = None
    bound: Reach | None = None

    @property
    def ratio(self) -> float | None:
        """Interactive attainment to the bound, or to the best heuristic where there is no bound."""
        yardstick = self.bound or self.best
        return _ratio(self.played.reach.attainment, yardstick.attainment) if yardstick else None

    @property
    def goodput_ratio(self) -> float | None:
        """The same for goodput."""
        yardstick = self.bound or self.best
        return _ratio(self.played.reach.goodput, yardstick.goodput) if yardstick else None

    def name(self) -> str:
        """The cell and the policy for people."""
        return f"{self.workload.name()}, {'told' if self.told else 'not told'}, {self.policy}"

    def line(self) -> str:
        """Everything in one line."""
        played, ttft = self.played, self.played.ttft
        against = "".join(
            f", {name} {reach.attainment:.3f}" for name, reach in (("best", self.best), ("bound", self.bound)) if reach
        )
        ratios = [f"{value:.3f}" if value is not None else "-" for value in (self.ratio, self.goodput_ratio)]
        return (
            f"{self.name()}: ratio {ratios[0]} (interactive {played.reach.attainment:.3f}{against}) | "
            f"TTFT p50 {ttft.p50:.0f} p95 {ttft.p95:.0f} p99 {ttft.p99:.0f} ms | TPOT p50 {played.tpot.p50:.1f} "
            f"p95 {played.tpot.p95:.1f} ms | bulk {played.bulk_tokens_per_second:.0f} tokens/s, done "
            f"{played.bulk_done:.2f} | goodput ratio {ratios[1]} | {played.chats} chats"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "ratio": self.ratio, "goodput_ratio": self.goodput_ratio}


def _ratio(value: float, most: float) -> float:
    return value / most if most > 0 else 1.0
