"""Streams of a mesh whose every token is known beforehand: which were lost, doubled or late, and which never ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import aiohttp
import orjson

from sage_benchmark.simulated_engine.answer_text import answer_text, marker
from sage_benchmark.simulated_engine.engine_config import SimulatedModels

MODEL = SimulatedModels().llm
DATA = b"data: "


@dataclass
class CheckedStream:
    """One stream as its client got it.

    Attributes:
        name: who asked; the tokens begin with it.
        tokens: how many the whole answer has.
        arrivals: when each piece of text came, seconds of the monotonic clock.
        fault: what went wrong; empty for nothing.
        hung: whether it had not ended within its time.
    """

    name: str
    tokens: int
    text: str = ""
    arrivals: list[float] = field(default_factory=list)
    engine: str = ""
    fault: str = ""
    hung: bool = False

    @property
    def whole(self) -> bool:
        """Whether each token came once, in order."""
        return not self.fault and self.text == answer_text(self.name, 0, self.tokens)

    @property
    def doubled(self) -> int:
        """Tokens that came more than once."""
        said = self.text.split()
        return len(said) - len(set(said))

    @property
    def missing(self) -> int:
        """Tokens that did not come."""
        return self.tokens - len(set(self.text.split()))

    @property
    def longest_gap_seconds(self) -> float:
        """The longest pause between two pieces."""
        return max((later - earlier for earlier, later in pairwise(self.arrivals)), default=0.0)


async def stream(session: aiohttp.ClientSession, one: CheckedStream, timeout_seconds: float) -> None:
    """Ask for a stream and note what comes."""
    body = {
        "model": MODEL,
        "stream": True,
        "max_tokens": one.tokens + 10,
        "messages": [{"role": "user", "content": f"{marker(one.name, one.tokens)} tell"}],
    }
    try:
        limit = aiohttp.ClientTimeout(total=timeout_seconds)
        async with session.post("/v1/chat/completions", json=body, timeout=limit) as response:
            one.engine = response.headers.get("x-sage-engine", "")
            if response.status != 200:
                one.fault = f"{response.status}: {(await response.text())[:300]}"
                return
            async for line in response.content:
                _note(one, line)
    except asyncio.TimeoutError:
        one.hung, one.fault = True, f"no end after {timeout_seconds:g} s"
    except aiohttp.ClientError as error:
        one.fault = repr(error)


def _note(one: CheckedStream, line: bytes) -> None:
    if not line.startswith(DATA) or line.startswith(b"data: [DONE]"):
        return
    event = orjson.loads(line.removeprefix(DATA))
    if "error" in event:
        one.fault = str(event["error"].get("message"))[:300]
        return
    choices = event.get("choices") or [{}]
    text = (choices[0].get("delta") or {}).get("content")
    if text:
        one.text += text
        one.arrivals.append(time.monotonic())


@dataclass
class StreamRun:
    """Streams that run at the same time.

    Attributes:
        streams: all of them.
    """

    streams: list[CheckedStream]
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def under_way(self, tokens: int = 8, within_seconds: float = 60.0) -> None:
        """Wait until each has begun, ``tokens`` deep. Raises TimeoutError."""
        deadline = time.monotonic() + within_seconds
        while not all(len(one.arrivals) >= tokens or one.fault for one in self.streams):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{[one.name for one in self.streams if len(one.arrivals) < tokens]} have not begun")
            await asyncio.sleep(0.01)

    async def end(self) -> Sequence[CheckedStream]:
        """Wait for the end of all; return them."""
        await asyncio.gather(*self._tasks)
        return self.streams


def start_streams(
    session: aiohttp.ClientSession, name: str, count: int, tokens: int, timeout_seconds: float = 60.0
) -> StreamRun:
    """Begin ``count`` streams of ``tokens`` each, named after ``name``."""
    streams = [CheckedStream(f"{name}-{number}", tokens) for number in range(count)]
    run = StreamRun(streams)
    run._tasks.extend(asyncio.create_task(stream(session, one, timeout_seconds)) for one in streams)
    return run


def faults(streams: Sequence[CheckedStream]) -> list[str]:
    """Return what is wrong with streams that are not whole, a sentence each."""
    return [
        f"{one.name} ({one.engine}): {one.missing} missing, {one.doubled} doubled; {one.fault or one.text[-60:]!r}"
        for one in streams
        if not one.whole
    ]
