"""The same chat over and over, over some connections: what a hop adds, and what a system carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import uvloop

from sage_benchmark.http_client import render_post
from sage_benchmark.load.closed_loop import ClosedLoopRun, percentile, run_closed_loop

CHAT = "/v1/chat/completions"
WARM_REQUESTS = 500
LOAD_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class TurnFigures:
    """What one system did in its turns: requests/s at 64 connections, and the median milliseconds at one."""

    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)


def load_with_chats(
    base: str, body: bytes, *, concurrency: int, requests: int, headers: Sequence[tuple[str, str]] = ()
) -> ClosedLoopRun:
    """Send a chat's body so many times; return what came of it. Raises as ``run_closed_loop``.

    Args:
        base: URL without ``/v1``.
    """
    request = render_post(base + CHAT, body, headers)
    run = run_closed_loop(base, [request] * requests, concurrency=concurrency, time_limit_seconds=LOAD_SECONDS)
    return uvloop.run(run)


def measure_in_turns(
    urls: Mapping[str, str],
    body: bytes,
    *,
    turns: int,
    loaded_requests: int,
    single_requests: int,
    headers: Sequence[tuple[str, str]] = (),
) -> dict[str, TurnFigures]:
    """Load systems in short turns, so that what else the machine does disturbs all alike.

    Args:
        urls: base URLs without ``/v1``, by the system's name.
        loaded_requests, single_requests: of each turn, over 64 connections and over one.

    Raises as ``run_closed_loop``.
    """
    found = {name: TurnFigures() for name in urls}
    for url in urls.values():
        load_with_chats(url, body, concurrency=16, requests=WARM_REQUESTS, headers=headers)
    for _ in range(turns):
        for name, url in urls.items():
            run = load_with_chats(url, body, concurrency=64, requests=loaded_requests, headers=headers)
            found[name].rates.append(run.requests_per_second)
        for name, url in urls.items():
            run = load_with_chats(url, body, concurrency=1, requests=single_requests, headers=headers)
            found[name].p50_ms.append(percentile([response.seconds * 1e3 for response in run.responses], 0.5))
    return found
