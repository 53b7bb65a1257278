"""A closed loop: each connection sends its next request when the one before it is answered.

It measures what a hop adds and what a system carries; load against a latency target is an open loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sage_benchmark.http_client import OK, ClientConnection, HttpResponse, connect


@dataclass(frozen=True, slots=True)
class ClosedLoopRun:
    """What a run measured.

    Attributes:
        seconds: from the first request to the last answer.
        responses: in the order of the requests.
    """

    seconds: float
    responses: list[HttpResponse] = field(repr=False)

    @property
    def requests_per_second(self) -> float:
        """Answers a second."""
        return len(self.responses) / self.seconds


async def run_closed_loop(
    url: str,
    requests: Sequence[bytes],
    *,
    concurrency: int,
    pause_seconds: float = 0.0,
    keep_bodies: bool = False,
    stop: asyncio.Event | None = None,
    time_limit_seconds: float = 1_800.0,
) -> ClosedLoopRun:
    """Send every request once, over ``concurrency`` keep-alive connections that are open before the clock starts.

    Args:
        url: of the server; its path is not used.
        requests: rendered; see ``http_client.render_post``.
        pause_seconds: between an answer and the connection's next request.
        keep_bodies: whether the responses keep their bodies.
        stop: when it is set, what has not been sent is not sent.

    Raises:
        RuntimeError: an answer is not 200; a figure without it would mislead.
        ConnectionError: the server closed a connection.
        TimeoutError: not all were answered within ``time_limit_seconds``.
    """
    loop = _ClosedLoop(requests, pause_seconds, stop, keep_bodies=keep_bodies)
    connections: list[ClientConnection] = []
    try:
        for _ in range(min(concurrency, len(requests))):
            connections.append(await connect(url))
        began = time.perf_counter()
        await asyncio.wait_for(loop.run(connections), time_limit_seconds)
        seconds = time.perf_counter() - began
    finally:
        for connection in connections:
            connection.close()
    return ClosedLoopRun(seconds, loop.responses)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of ``values`` lie, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _ClosedLoop:
    """What the connections share: the requests that are left and the answers so far."""

    def __init__(
        self, requests: Sequence[bytes], pause_seconds: float, stop: asyncio.Event | None, *, keep_bodies: bool
    ) -> None:
        self._requests = iter(requests)
        self._stop = stop
        self.active = 0
        self.pause_seconds = pause_seconds
        self.keep_bodies = keep_bodies
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.responses: list[HttpResponse] = []

    async def run(self, connections: Sequence[ClientConnection]) -> None:
        self.active = len(connections)
        for connection in connections:
            _Sender(self, connection).send_next()
        if connections:
            await self.done

    def next_request(self) -> bytes | None:
        if self.done.done() or (self._stop is not None and self._stop.is_set()):
            return None
        return next(self._requests, None)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class _Sender:
    """Works by callbacks rather than as a task: a task's turn costs as much as parsing an answer."""

    __slots__ = ("_connection", "_on_finished", "_run")

    def __init__(self, run: _ClosedLoop, connection: ClientConnection) -> None:
        self._run = run
        self._connection = connection
        self._on_finished = self.on_finished

    def send_next(self) -> None:
        run = self._run
        request = run.next_request()
        if request is None:
            run.active -= 1
            if not run.active and not run.done.done():
                run.done.set_result(None)
            return
        try:
            run.responses.append(self._connection.send(request, self._on_finished))
        except ConnectionError as error:
            run.fail(error)

    def on_finished(self, response: HttpResponse) -> None:
        run = self._run
        if response.error:
            run.fail(ConnectionError(f"the connection failed: {response.error}"))
        elif response.status != OK:
            run.fail(RuntimeError(f"the server answered {response.status}: {response.body[:300]!r}"))
        else:
            if not run.keep_bodies:
                response.pieces.clear()
            if run.pause_seconds:
                asyncio.get_running_loop().call_later(run.pause_seconds, self.send_next)
            else:
                self.send_next()
