"""Figures of the latest requests: rates along the ring, what waits, and which targets were kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sage_client.management.views import RequestView
from sage_studio.feed import SeenRequest

RATE_SECONDS = 10.0
ATTAINMENT_SECONDS = 300.0
# Ends that count against the targets; a caller who went away does not.
UNANSWERED = frozenset({"failed", "refused", "lost"})


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests a second over the last ten.

    Attributes:
        arrived: at an edge, and so at a classifier and a scheduler too.
        placed: on engines, by engine.
        ended: whose answer is complete, or which failed.
        tokens: of answers that ended.
    """

    arrived: float
    placed: Mapping[str, float]
    ended: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Attainment:
    """Of the requests of one class with targets that ended in the last five minutes, how many were kept."""

    service_class: str
    kept: int
    ended: int

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.kept / self.ended


def rates(requests: Iterable[SeenRequest], now_unix_ms: int) -> Rates:
    """Return the rates; reads the requests, the latest change first, up to those that changed before."""
    since = now_unix_ms - RATE_SECONDS * 1000
    arrived = ended = tokens = 0
    placed: Counter[str] = Counter()
    for seen in requests:
        if seen.changed_unix_ms < since - 5000:
            break
        view = seen.view
        arrived += seen.arrived_unix_ms >= since
        if view.engine_id and seen.arrived_unix_ms + view.queue_ms >= since:
            placed[view.engine_id] += 1
        ended_at = ended_unix_ms(seen)
        if ended_at is not None and ended_at >= since:
            ended += 1
            tokens += view.output_tokens or 0
    return Rates(
        arrived / RATE_SECONDS,
        {engine: count / RATE_SECONDS for engine, count in placed.items()},
        ended / RATE_SECONDS,
        tokens / RATE_SECONDS,
    )


def waiting(requests: Iterable[SeenRequest]) -> dict[tuple[str, str], int]:
    """Return how many requests are queued, by class and tenant, the most first."""
    queued = Counter((s.view.service_class, s.view.tenant) for s in requests if s.view.state == "queued")
    return dict(queued.most_common())


def attainment(requests: Iterable[SeenRequest], now_unix_ms: int) -> list[Attainment]:
    """Return the attainment of each class that has targets, by name."""
    since = now_unix_ms - ATTAINMENT_SECONDS * 1000
    kept: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    for seen in requests:
        if (ended_unix_ms(seen) or 0) < since:
            continue
        met = targets_met(seen.view)
        if met is not None:
            ended[seen.view.service_class] += 1
            kept[seen.view.service_class] += met
    return [Attainment(name, kept[name], ended[name]) for name in sorted(ended)]


def targets_met(view: RequestView) -> bool | None:
    """Return whether an ended request kept its targets; None where it has none, or has not ended by itself."""
    if not (view.slo_ttft_ms or view.slo_tpot_ms or view.slo_end_to_end_ms):
        return None
    if view.state in UNANSWERED:
        return False
    if view.state != "finished" or view.ended_after_ms is None:
        return None
    if view.slo_end_to_end_ms and view.ended_after_ms > view.slo_end_to_end_ms:
        return False
    if view.slo_ttft_ms and (view.ttft_ms is None or view.ttft_ms > view.slo_ttft_ms):
        return False
    tpot = tpot_ms(view)
    return not (view.slo_tpot_ms and tpot is not None and tpot > view.slo_tpot_ms)


def tpot_ms(view: RequestView) -> float | None:
    """Return the milliseconds a token after the first; None where they are not known, or all came at once."""
    if not view.streaming or view.ttft_ms is None or view.ended_after_ms is None or (view.output_tokens or 0) < 2:
        return None
    return (view.ended_after_ms - view.ttft_ms) / ((view.output_tokens or 0) - 1)


def ended_unix_ms(seen: SeenRequest) -> float | None:
    """Return when a request ended; None while it has not."""
    after = seen.view.ended_after_ms
    return None if after is None else seen.arrived_unix_ms + after
