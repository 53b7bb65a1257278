"""The chart of one request shows the same request under every system."""

from __future__ import annotations

from dataclasses import replace

from fixtures.arrivals import burst

from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.report.timeline import candidates, shared_timelines


def served(*ttft: float) -> list[RequestOutcome]:
    arrivals = burst(len(ttft))
    return [
        RequestOutcome(arrival, 0.0, seconds, seconds + 1, arrival.output_tokens, 200, token_times=(seconds,))
        for arrival, seconds in zip(arrivals, ttft, strict=True)
    ]


def test_every_system_shows_the_request_that_is_typical_of_the_last() -> None:
    fifo, hybrid = served(5.0, 6.0, 7.0), served(0.3, 0.1, 0.2)
    timelines = shared_timelines({"fifo": candidates(fifo), "hybrid": candidates(hybrid)})
    assert [timeline.title for timeline in timelines] == ["fifo: request 2", "hybrid: request 2"]
    assert timelines[0].spans[-1].start_ms == 7000
    assert list(timelines[1].tokens_ms) == [200.0]


def test_a_request_that_one_system_did_not_serve_is_not_shown() -> None:
    fifo, hybrid = served(5.0, 6.0), served(0.3, 0.1)
    fifo[0] = replace(fifo[0], status=429, error="http_429")
    timelines = shared_timelines({"fifo": candidates(fifo), "hybrid": candidates(hybrid)})
    assert [timeline.title for timeline in timelines] == ["fifo: request 1", "hybrid: request 1"]
    assert shared_timelines({"fifo": [], "hybrid": candidates(hybrid)}) == []
