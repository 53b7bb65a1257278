"""One open-loop run: every request leaves at its scheduled time, and its latency counts from there.

A closed loop, or a latency counted from the moment of sending, would leave out the very requests that a slow server
holds up (coordinated omission). Each request that is sent has an outcome: an error, a rejection and a time-out too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sage_benchmark.http_client import OK, TIMEOUT, ConnectionPool, HttpResponse, render_post
from sage_benchmark.load.answer import Answer, read_document, read_stream
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.rendered_request import RenderedRequest
from sage_client import headers as names
from sage_common.tasks import end_tasks


@dataclass(frozen=True, slots=True)
class OpenLoopPlan:
    """How a workload is sent.

    Attributes:
        urls: base URLs without ``/v1``; of several each gets a request in turn.
        timeout_seconds: after its scheduled arrival a request is given up.
        lead_seconds: between the start and time 0, so that the first requests are not late.
        keep_text: whether outcomes hold the answers' texts.
    """

    urls: Sequence[str]
    timeout_seconds: float = 120.0
    lead_seconds: float = 0.1
    keep_text: bool = False


async def run_open_loop(
    plan: OpenLoopPlan,
    requests: Sequence[tuple[Arrival, RenderedRequest]],
) -> list[RequestOutcome]:
    """Send the requests at their arrival times and return an outcome for each, in the same order.

    Args:
        requests: in order of arrival.
    """
    start = time.perf_counter() + plan.lead_seconds

    def now() -> float:
        return time.perf_counter() - start

    pools = [ConnectionPool(url, now) for url in plan.urls]
    turns = [number % len(pools) for number in range(len(requests))]
    wire = [_wire(plan.urls[turn], request) for turn, (_, request) in zip(turns, requests, strict=True)]
    sending: list[asyncio.Task[RequestOutcome]] = []
    try:
        for (arrival, _), data, turn in zip(requests, wire, turns, strict=True):
            wait = arrival.at_seconds - now()
            # Without a wait too the loop gets its turn: a late generator must not hold back the answers as well.
            await asyncio.sleep(max(0.0, wait))
            sending.append(asyncio.create_task(_send(plan, pools[turn], arrival, data, now)))
        return list(await asyncio.gather(*sending))
    finally:
        await end_tasks(*sending)
        for pool in pools:
            pool.close()


async def _send(
    plan: OpenLoopPlan, pool: ConnectionPool, arrival: Arrival, data: bytes, now: Callable[[], float]
) -> RequestOutcome:
    sent_at = now()
    left = max(0.0, arrival.at_seconds + plan.timeout_seconds - sent_at)
    try:
        response = await pool.request(data, left)
    except asyncio.TimeoutError:
        return RequestOutcome(arrival, sent_at, finished_at=now(), error=TIMEOUT)
    except OSError:
        return RequestOutcome(arrival, sent_at, finished_at=now(), error="cannot_connect")
    return _outcome(arrival, sent_at, response, now(), keep_text=plan.keep_text)


def _outcome(
    arrival: Arrival, sent_at: float, response: HttpResponse, now: float, *, keep_text: bool
) -> RequestOutcome:
    if response.error == TIMEOUT:
        partial = _answer(arrival, response, keep_text=keep_text)
        return RequestOutcome(arrival, sent_at, partial.first_at, now, partial.tokens, error=TIMEOUT, text=partial.text)
    headers = response.headers
    if response.status == OK:
        answer = _answer(arrival, response, keep_text=keep_text)
        error = response.error or answer.error
    else:
        answer = Answer(0, None, None)
        error = response.error or f"http_{response.status}"
    return RequestOutcome(
        arrival,
        sent_at,
        first_token_at=answer.first_at,
        finished_at=now if error or answer.last_at is None else answer.last_at,
        tokens=answer.tokens,
        status=response.status or 0,
        error=error,
        engine=headers.get(names.ENGINE, ""),
        queue_ms=_number(headers.get(names.QUEUE_MS)),
        attempts=int(_number(headers.get(names.ATTEMPTS))),
        text=answer.text,
        token_times=answer.token_times,
    )


def _answer(arrival: Arrival, response: HttpResponse, *, keep_text: bool) -> Answer:
    if arrival.streaming:
        return read_stream(response.pieces, response.arrivals, keep_text=keep_text)
    if response.error or not response.arrivals:
        return Answer(0, None, None)
    return read_document(response.body, response.arrivals[-1], keep_text=keep_text)


def _wire(url: str, request: RenderedRequest) -> bytes:
    return render_post(url.rstrip("/") + request.path, request.body, request.headers)


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
