"""The life of one request as spans, from its outcome."""

from __future__ import annotations

from collections.abc import Iterable

from sage_benchmark.report.benchmark_report import Timeline, TimelineSpan
from sage_benchmark.report.outcome import RequestOutcome
from sage_control_plane.requests import ServiceClass

QUEUED = "queued"
FIRST_TOKEN = "to the first token"
TOKENS = "tokens"


def timeline_of(outcome: RequestOutcome, title: str) -> Timeline:
    """Return queueing as the server told it, then the time to the first token, then the tokens.

    A request that was not served ends where it failed.
    """
    arrival = outcome.arrival.at_seconds
    end = ((outcome.finished_at if outcome.finished_at is not None else outcome.sent_at) - arrival) * 1000
    first = end if outcome.first_token_at is None else (outcome.first_token_at - arrival) * 1000
    dispatched = min(first, (outcome.sent_at - arrival) * 1000 + outcome.queue_ms)
    spans = [TimelineSpan(QUEUED, 0.0, dispatched), TimelineSpan(FIRST_TOKEN, dispatched, first)]
    if outcome.first_token_at is not None:
        spans.append(TimelineSpan(TOKENS, first, end))
    return Timeline(title, spans)


def typical_timeline(outcomes: Iterable[RequestOutcome], system: str) -> Timeline | None:
    """Timeline of the served interactive request with the median time to first token; None where none was served."""
    served = sorted(
        (outcome.ttft_seconds, outcome.arrival.index, outcome)
        for outcome in outcomes
        if outcome.served
        and outcome.ttft_seconds is not None
        and outcome.arrival.service_class is ServiceClass.INTERACTIVE
    )
    if not served:
        return None
    typical = served[len(served) // 2][2]
    return timeline_of(typical, f"{system}: interactive request {typical.arrival.index}")
