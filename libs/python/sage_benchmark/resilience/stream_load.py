"""Many streams at once, each read as it comes, with the gaps between their tokens."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from sage_benchmark.http_client import OK, ClientConnection, HttpResponse, connect, render_post

CHAT = "/v1/chat/completions"
# Such streams are nobody's chats: no target between tokens may hold any of them back.
HEADERS = (("x-request-type", "default"), ("x-slo-ttft-ms", "60000"), ("x-slo-tpot-ms", "10000"))
# Beyond the time that the engine takes for a stream.
GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class StreamedLoad:
    """What the clients of one load saw.

    Attributes:
        streams: that were open at once.
        failed: those that ended in any other way than whole; with the first reason.
        seconds: from the first request to the last byte.
        stream_seconds: from the first to the last piece of a stream, on average.
        gaps_ms: between pieces of a stream, of all streams. Tokens that come late come together in one piece.
    """

    streams: int
    failed: int
    reason: str
    seconds: float
    stream_seconds: float
    gaps_ms: list[float]


async def stream_load(
    base: str, body: bytes, *, streams: int, ramp_seconds: float, stream_seconds: float
) -> StreamedLoad:
    """Open so many streams, evenly over ``ramp_seconds``, and read all of them to their ends.

    Args:
        stream_seconds: how long the engine takes for one.
    """
    request = render_post(base + CHAT, body, HEADERS)
    connections: list[ClientConnection] = []
    began = time.perf_counter()
    try:
        for _ in range(streams):
            connections.append(await connect(base))
        began = time.perf_counter()
        limit = ramp_seconds + stream_seconds + GRACE_SECONDS
        reading = []
        for number, connection in enumerate(connections):
            await asyncio.sleep(max(0.0, began + number * ramp_seconds / streams - time.perf_counter()))
            reading.append(asyncio.create_task(connection.request(request, limit)))
        responses = await asyncio.gather(*reading)
    finally:
        for connection in connections:
            connection.close()
    reasons = [reason for response in responses if (reason := _why_failed(response))]
    gaps = [gap * 1e3 for response in responses for gap in response.gaps]
    lasted = [response.arrivals[-1] - response.arrivals[0] for response in responses if response.arrivals]
    seconds = time.perf_counter() - began
    return StreamedLoad(
        streams, len(reasons), next(iter(reasons), ""), seconds, sum(lasted) / max(1, len(lasted)), gaps
    )


def _why_failed(response: HttpResponse) -> str:
    if response.error or response.status != OK:
        return response.error or f"{response.status}: {response.body[:200]!r}"
    return "" if b"[DONE]" in response.pieces[-1] or b"[DONE]" in response.body else "no end of the stream"
