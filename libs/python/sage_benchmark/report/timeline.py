"""The life of one request as spans, from its outcome."""

from __future__ import annotations

from sage_benchmark.report.benchmark_report import Timeline, TimelineSpan
from sage_benchmark.report.outcome import RequestOutcome

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
