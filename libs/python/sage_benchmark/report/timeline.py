"""The life of one request as spans, from its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sage_benchmark.report.outcome import RequestOutcome
from sage_control_plane.request.request import ServiceClass

QUEUED = "queued"
FIRST_TOKEN = "to the first token"
TOKENS = "tokens"
# Requests of a run among which one is looked for; a run may have a million.
LOOKED_AT = 10_000


@dataclass(frozen=True)
class TimelineSpan:
    """A stretch in the life of one request, in milliseconds from its scheduled arrival."""

    label: str
    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Timeline:
    """The life of one request from arrival to last token. ``title`` names it and the system."""

    title: str
    spans: Sequence[TimelineSpan]
    tokens_ms: Sequence[float] = ()


def timeline_of(outcome: RequestOutcome, title: str) -> Timeline:
    """Return queueing as the server reports it, then the time to the first token, then the tokens.

    A request that was not served ends where it failed.
    """
    arrival = outcome.arrival.at_seconds
    end = ((outcome.finished_at if outcome.finished_at is not None else outcome.sent_at) - arrival) * 1000
    first = end if outcome.first_token_at is None else (outcome.first_token_at - arrival) * 1000
    dispatched = min(first, (outcome.sent_at - arrival) * 1000 + outcome.queue_ms)
    spans = [TimelineSpan(QUEUED, 0.0, dispatched), TimelineSpan(FIRST_TOKEN, dispatched, first)]
    if outcome.first_token_at is not None:
        spans.append(TimelineSpan(TOKENS, first, end))
    return Timeline(title, spans, [(at - arrival) * 1000 for at in outcome.token_times])


def candidates(outcomes: Sequence[RequestOutcome]) -> list[RequestOutcome]:
    """Return the early interactive requests that were served: what to keep of a run for ``shared_timelines``."""
    return [outcome for outcome in outcomes if outcome.arrival.index < LOOKED_AT and _interactive(outcome)]


def shared_timelines(outcomes: Mapping[str, Sequence[RequestOutcome]]) -> list[Timeline]:
    """Timelines of one and the same interactive request under every system.

    It is the one with the median time to first token, under the last system, of those that every system served; empty
    where there is none.

    Args:
        outcomes: the ``candidates`` of each system.
    """
    served = {name: {outcome.arrival.index: outcome for outcome in given} for name, given in outcomes.items()}
    if not served:
        return []
    everywhere = set.intersection(*(set(given) for given in served.values()))
    last = list(served.values())[-1]
    ordered = sorted(everywhere, key=lambda index: (last[index].ttft_seconds or 0.0, index))
    if not ordered:
        return []
    typical = ordered[len(ordered) // 2]
    return [timeline_of(given[typical], f"{name}: request {typical}") for name, given in served.items()]


def _interactive(outcome: RequestOutcome) -> bool:
    of_class = outcome.arrival.service_class is ServiceClass.INTERACTIVE
    return of_class and outcome.served and outcome.ttft_seconds is not None
