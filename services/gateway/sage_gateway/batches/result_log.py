"""What the lines of a batch came to, kept as they end, so that another gateway can go on where one broke off.

A message holds the results that waited while the one before it was stored: an index, a line end, and the texts, end to
end. A result that is longer than a message goes on in the next one. Whoever takes a batch over reads the log and
appends an empty message; what the gateway before it still writes is refused from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import orjson
from nats.js.client import JetStreamContext

from sage_common.tasks import end_tasks
from sage_gateway.batches.batch_record import BatchCounts
from sage_gateway.batches.line_result import LineResult
from sage_mesh.reply import TokenUsage
from sage_platform import subjects
from sage_platform.fenced_log import FencedLog, FencedLogError, Logged, drop_log, longest_message, read_log

# Of texts in one message; it has an index beside them.
MOST_TOGETHER_BYTES = 1024 * 1024
_TAKEOVER = b"[]\n"
_FENCE_TRIES = 20


class _Piece(NamedTuple):
    """A piece of a result's text, as a message's index tells of it."""

    number: int
    is_error: bool
    is_last: bool
    length: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int


class DoneLines:
    """The numbers of lines that have a result: a bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def __contains__(self, number: int) -> bool:
        at = number >> 3
        return at < len(self._bits) and bool(self._bits[at] >> (number & 7) & 1)

    def add(self, number: int) -> None:
        """Count a line in."""
        at = number >> 3
        if at >= len(self._bits):
            self._bits.extend(bytes(max(1024, at + 1 - len(self._bits))))
        self._bits[at] |= 1 << (number & 7)


class ResultLog:
    """Writes the results of one batch, and knows which lines have one.

    Attributes:
        done: lines that have a result.
        counts: of the lines that have one, and of their tokens; ``total`` is the caller's.
    """

    def __init__(self, js: JetStreamContext, tenant: str, batch_id: str) -> None:
        self.done = DoneLines()
        self.counts = BatchCounts()
        self._js = js
        self._subject = subjects.batch_results(tenant, batch_id)
        self._most_bytes = min(MOST_TOGETHER_BYTES, longest_message(js) // 2)
        self._log = FencedLog(js, subjects.BATCH_RESULTS_STREAM, self._subject)
        self._waiting: list[tuple[LineResult, asyncio.Future[None]]] = []
        self._due = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def take_over(self) -> None:
        """Read what is there, and fence off whoever wrote it. Raises nats.errors.Error, asyncio.TimeoutError, and
        FencedLogError where others take the batch over again and again."""
        last = 0
        entries = _Results()
        for _ in range(_FENCE_TRIES):
            async for message in read_log(self._js, subjects.BATCH_RESULTS_STREAM, self._subject, last):
                last = message.sequence
                for result in entries.read(message):
                    self._count(result)
            self._log = FencedLog(self._js, subjects.BATCH_RESULTS_STREAM, self._subject, last)
            try:
                await self._log.append(_TAKEOVER)
                return
            except FencedLogError:
                continue
        raise FencedLogError(f"{self._subject} has other writers again and again")

    async def add(self, result: LineResult) -> None:
        """Store a result; return once it is stored. Raises as ``take_over``; after that nothing more is stored, since
        what the log holds is not known then."""
        if self._failure is not None:
            raise self._failure
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="batch-results")
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((result, stored))
        self._due.set()
        await stored

    async def close(self) -> None:
        """Stop writing."""
        if self._writer is not None:
            await end_tasks(self._writer)

    async def results(self) -> AsyncIterator[LineResult]:
        """Yield the results in the order in which they were stored, one message in memory at a time."""
        entries = _Results()
        async for message in read_log(self._js, subjects.BATCH_RESULTS_STREAM, self._subject):
            for result in entries.read(message):
                yield result

    async def drop(self) -> None:
        """Remove everything."""
        await drop_log(self._js, subjects.BATCH_RESULTS_STREAM, self._subject)

    async def _write(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            while self._waiting:
                taken = self._take()
                try:
                    for message in _messages([result for result, _ in taken], self._most_bytes):
                        await self._log.append(message)
                except Exception as error:
                    self._fail(taken, error)
                    return
                for result, stored in taken:
                    self._count(result)
                    if not stored.done():
                        stored.set_result(None)

    def _fail(self, taken: list[tuple[LineResult, asyncio.Future[None]]], error: Exception) -> None:
        self._failure = error
        for _, stored in (*taken, *self._waiting):
            if not stored.done():
                stored.set_exception(error)

    def _take(self) -> list[tuple[LineResult, asyncio.Future[None]]]:
        """Return what goes into the next message: as much as it holds, and at least one result."""
        size = count = 0
        for result, _ in self._waiting:
            size += len(result.text)
            if count and size > self._most_bytes:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def _count(self, result: LineResult) -> None:
        self.done.add(result.number)
        counts, usage = self.counts, result.usage
        self.counts = BatchCounts(
            counts.total,
            counts.completed + (not result.is_error),
            counts.failed + result.is_error,
            counts.input_tokens + usage.prompt_tokens,
            counts.cached_tokens + usage.cached_tokens,
            counts.output_tokens + usage.completion_tokens,
        )


class _Results:
    """Puts results together again from the messages of a log, given in order."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []

    def read(self, message: Logged) -> list[LineResult]:
        """Return the results that end in a message."""
        index, _, texts = message.data.partition(b"\n")
        found = []
        pieces = [_Piece(*entry) for entry in orjson.loads(index)]
        if not pieces:
            # Another gateway took over: what its predecessor had half written is written no more.
            self._begun.clear()
        at = 0
        for piece in pieces:
            self._begun.append(texts[at : at + piece.length])
            at += piece.length
            if piece.is_last:
                usage = TokenUsage(piece.input_tokens, piece.output_tokens, piece.cached_tokens)
                found.append(LineResult(piece.number, bool(piece.is_error), b"".join(self._begun), usage))
                self._begun.clear()
        return found


def _messages(results: list[LineResult], most_bytes: int) -> list[bytes]:
    """Return the messages that hold results: one, or several for one result that is longer than a message."""
    if len(results) > 1 or len(results[0].text) <= most_bytes:
        index = [_entry(result, len(result.text), is_last=True) for result in results]
        return [orjson.dumps(index) + b"\n" + b"".join(result.text for result in results)]
    (result,) = results
    cuts = range(0, len(result.text), most_bytes)
    return [
        orjson.dumps([_entry(result, len(part), is_last=at + most_bytes >= len(result.text))]) + b"\n" + part
        for at, part in ((at, result.text[at : at + most_bytes]) for at in cuts)
    ]


def _entry(result: LineResult, length: int, *, is_last: bool) -> tuple[int, ...]:
    usage = result.usage
    counts = (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
    # A named tuple is none that orjson writes.
    return tuple(_Piece(result.number, result.is_error, is_last, length, *counts))
