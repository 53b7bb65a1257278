"""One open-loop run: every request leaves at its scheduled time, and its latency counts from there.

A closed loop, or a latency counted from the moment of sending, would leave out the very requests that a slow server
holds up (coordinated omission). Each request that is sent has an outcome: an error, a reject and a time-out too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sage_benchmark.open_loop.answer_reader import AnswerReader
from sage_benchmark.open_loop.load_connection import ConnectionPool, HttpAnswer
from sage_benchmark.report.outcome import OK, RequestOutcome
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.request_body import RenderedRequest
from sage_client import headers as names
from sage_common.tasks import end_tasks


@dataclass(frozen=True, slots=True)
class OpenLoopPlan:
    """How a workload is sent.

    Attributes:
        url: base URL without ``/v1``.
        timeout_seconds: after its scheduled arrival a request is given up.
        lead_seconds: between the start and time 0, so that the first requests are not late.
        keep_text: whether outcomes hold the answers' texts.
        headers: sent with every request, such as an API key.
    """

    url: str
    timeout_seconds: float = 120.0
    lead_seconds: float = 0.1
    keep_text: bool = False
    headers: tuple[tuple[str, str], ...] = ()


async def run_open_loop(
    plan: OpenLoopPlan,
    requests: Sequence[tuple[Arrival, RenderedRequest]],
    clock: Callable[[], float] = time.perf_counter,
) -> list[RequestOutcome]:
    """Send the requests at their arrival times and return an outcome for each, in the same order.

    Args:
        requests: in order of arrival.
        clock: monotonic seconds.
    """
    start = clock() + plan.lead_seconds

    def now() -> float:
        return clock() - start

    pool = ConnectionPool(plan.url, now)
    wire = [_wire(plan, request) for _, request in requests]
    sending: list[asyncio.Task[RequestOutcome]] = []
    try:
        for (arrival, _), data in zip(requests, wire, strict=True):
            wait = arrival.at_seconds - now()
            # Without a wait too the loop gets its turn: a late generator must not hold back the answers as well.
            await asyncio.sleep(max(0.0, wait))
            sending.append(asyncio.create_task(_send(plan, pool, arrival, data, now)))
        return list(await asyncio.gather(*sending))
    finally:
        await end_tasks(*sending)
        pool.close()


async def _send(
    plan: OpenLoopPlan, pool: ConnectionPool, arrival: Arrival, data: bytes, now: Callable[[], float]
) -> RequestOutcome:
    sent_at = now()
    reader = AnswerReader(streaming=arrival.streaming, keep_text=plan.keep_text)
    left = arrival.at_seconds + plan.timeout_seconds - sent_at
    try:
        answer = await asyncio.wait_for(_exchange(pool, data, reader), max(0.0, left))
    except asyncio.TimeoutError:
        return RequestOutcome(
            arrival, sent_at, reader.first_at, now(), reader.tokens, error="timeout", text=reader.text()
        )
    except OSError:
        return RequestOutcome(arrival, sent_at, None, now(), error="cannot_connect")
    return _outcome(arrival, sent_at, answer, now())


async def _exchange(pool: ConnectionPool, data: bytes, reader: AnswerReader) -> HttpAnswer:
    connection = await pool.take()
    answer = HttpAnswer(reader)
    try:
        answer = await connection.exchange(data, reader)
        return answer
    finally:
        pool.give_back(connection, reusable=answer.reusable)


def _outcome(arrival: Arrival, sent_at: float, answer: HttpAnswer, now: float) -> RequestOutcome:
    reader = answer.reader
    error = answer.broken
    if not error and answer.status != OK:
        error = f"http_{answer.status}"
    elif not error:
        error = reader.problem
    refused = answer.status != OK
    return RequestOutcome(
        arrival,
        sent_at,
        first_token_at=None if refused else reader.first_at,
        finished_at=now if error or reader.last_at is None else reader.last_at,
        tokens=0 if refused else reader.tokens,
        status=answer.status,
        error=error,
        engine=answer.headers.get(names.ENGINE, ""),
        queue_ms=_number(answer.headers.get(names.QUEUE_MS)),
        attempts=int(_number(answer.headers.get(names.ATTEMPTS))),
        text="" if refused else reader.text(),
        token_times=() if refused else reader.times,
    )


def _wire(plan: OpenLoopPlan, request: RenderedRequest) -> bytes:
    parts = urlsplit(plan.url)
    lines = [
        f"POST {parts.path.rstrip('/')}{request.path} HTTP/1.1",
        f"host: {parts.netloc}",
        "content-type: application/json",
        f"content-length: {len(request.body)}",
        *(f"{name}: {value}" for name, value in (*plan.headers, *request.headers)),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
