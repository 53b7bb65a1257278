"""Running one node: take batches, call its operator within the concurrency limit, emit results as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sage_common.clock import Clock
from sage_common.errors import ContendedError, SageError, UnavailableError
from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import Batch, Operator, Record, Source
from sage_kernel.problems import NodeFailedError
from sage_kernel.runtime.channel import Channel
from sage_kernel.runtime.progress import DeadLetter, NodeCounts
from sage_kernel.runtime.task_scope import TaskScope

# Emitted batches are no larger, so that a queue bounded in batches is bounded in records.
MAX_BATCH_RECORDS = 256
_FIRST_RETRY_SECONDS = 0.2
_LONGEST_RETRY_SECONDS = 5.0

Sleep = Callable[[float], Awaitable[None]]


class NodeOutput:
    """Sends a node's records to every node behind it and counts them."""

    def __init__(self, channels: list[Channel], counts: NodeCounts, changed: Callable[[], None]) -> None:
        self._channels = channels
        self._counts = counts
        self._changed = changed

    async def emit(self, batch: Batch) -> None:
        """Send ``batch``, waiting for the slowest of the nodes behind."""
        for start in range(0, len(batch), MAX_BATCH_RECORDS):
            piece = batch[start : start + MAX_BATCH_RECORDS]
            for channel in self._channels:
                await channel.put(piece)
            self._counts.records_out += len(piece)
            self._changed()

    async def close(self) -> None:
        """End the node's output."""
        for channel in self._channels:
            await channel.close()


class SourceRunner:
    """Pumps a source."""

    def __init__(self, node_id: str, spec: NodeSpec, source: Source, output: NodeOutput) -> None:
        self._node_id = node_id
        self._spec = spec
        self._source = source
        self._output = output

    async def run(self) -> None:
        """Emit every batch of the source. Raises NodeFailedError."""
        try:
            async for batch in self._source.batches():
                await self._output.emit(batch)
        except Exception as error:
            raise NodeFailedError(self._node_id, self._spec.op, error) from error
        await self._output.close()


class OperatorRunner:
    """Feeds an operator."""

    def __init__(
        self,
        node_id: str,
        spec: NodeSpec,
        operator: Operator,
        incoming: Channel,
        output: NodeOutput,
        counts: NodeCounts,
        *,
        scope: TaskScope,
        clock: Clock,
        sleep: Sleep,
        changed: Callable[[], None],
        dead_letter: Callable[[DeadLetter], None],
    ) -> None:
        self._node_id = node_id
        self._spec = spec
        self._operator = operator
        self._incoming = incoming
        self._output = output
        self._counts = counts
        self._scope = scope
        self._clock = clock
        self._sleep = sleep
        self._changed = changed
        self._dead_letter = dead_letter

    async def run(self) -> None:
        """Process everything that comes in. Raises NodeFailedError."""
        slots = asyncio.Semaphore(self._spec.concurrency)
        running: set[asyncio.Task[None]] = set()
        previous: asyncio.Event | None = None
        number = 0
        while batch := await self._incoming.take(self._operator.batch_records):
            self._counts.records_in += len(batch)
            self._changed()
            await slots.acquire()
            done = asyncio.Event()
            work = self._one(batch, slots, previous if self._spec.ordered else None, done)
            task = self._scope.spawn(work, f"{self._node_id}-{number}")
            running.add(task)
            task.add_done_callback(running.discard)
            previous, number = done, number + 1
        if running:
            await asyncio.wait(set(running))
        try:
            rest = await self._operator.finish()
        except Exception as error:
            raise NodeFailedError(self._node_id, self._spec.op, error) from error
        await self._output.emit(rest)
        await self._output.close()

    async def _one(
        self, batch: Batch, slots: asyncio.Semaphore, previous: asyncio.Event | None, done: asyncio.Event
    ) -> None:
        # The slot is held until the output is taken: a slow node behind slows this one.
        result = await self._process(batch)
        if previous is not None:
            await previous.wait()
        await self._output.emit(result)
        done.set()
        slots.release()

    async def _process(self, batch: Batch) -> Batch:
        try:
            return await self._attempt(batch)
        except Exception as error:
            if self._spec.on_error == "fail":
                raise NodeFailedError(self._node_id, self._spec.op, error) from error
            if len(batch) == 1:
                self._give_up(batch[0], error)
                return ()
        # One bad record must not take the others of its batch along.
        kept: list[Record] = []
        for record in batch:
            kept.extend(await self._process([record]))
        return kept

    async def _attempt(self, batch: Batch) -> Batch:
        attempt = 0
        while True:
            started = self._clock.now()
            try:
                return await self._operator.process(batch)
            except SageError as error:
                if attempt >= self._spec.retries or not _may_pass(error):
                    raise
                wait = error.retry_after_seconds or _FIRST_RETRY_SECONDS * 2**attempt
                attempt += 1
            finally:
                self._counts.busy_seconds += self._clock.now() - started
            await self._sleep(min(wait, _LONGEST_RETRY_SECONDS))

    def _give_up(self, record: Record, error: Exception) -> None:
        self._counts.records_failed += 1
        self._changed()
        if self._spec.on_error == "dlq":
            message = error.message if isinstance(error, SageError) else f"{type(error).__name__}: {error}"
            attempts = 1 + (self._spec.retries if isinstance(error, SageError) and _may_pass(error) else 0)
            self._dead_letter(DeadLetter(self._node_id, record, message, attempts))


def _may_pass(error: SageError) -> bool:
    return error.retryable or isinstance(error, UnavailableError | ContendedError)
