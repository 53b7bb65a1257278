"""The queues in front of a node that has several inputs or that waits, and its part in checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import polars as pl

from sage_kernel.operator import State
from sage_kernel.runtime.checkpointing import Participant
from sage_kernel.runtime.element_queue import ElementQueue
from sage_kernel.runtime.elements import Barrier, Element, End, Watermark
from sage_kernel.runtime.inbox import IN_OPERATOR, Inbox, InboxEntry
from sage_kernel.runtime.input_watermarks import InputWatermarks
from sage_kernel.runtime.progress import NodeCounts


class NodeCut(NamedTuple):
    """A node at its barrier: the operator's state, and what it had taken in but not let out yet."""

    state: State
    in_flight: Sequence[Element] = ()


class Target(Protocol):
    """The node behind an inlet."""

    async def accept(self, element: Element, input_index: int) -> None:
        """Process an element, or begin to."""
        ...

    async def on_barrier(self, barrier: Barrier) -> NodeCut:
        """Send the barrier on, and return the node as it was at that moment."""
        ...

    def can_take(self) -> bool:
        """Return whether it can process one more element now."""
        ...

    def on_can_take(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called whenever ``can_take`` or ``is_drained`` may have changed."""
        ...

    def begin_drain(self) -> None:
        """Hold nothing back any more: nothing but the end follows."""
        ...

    def is_drained(self) -> bool:
        """Return whether everything that it took has left."""
        ...


class _OpenCut:
    def __init__(self, number: int, entries: list[InboxEntry], watermarks: InputWatermarks) -> None:
        self.number = number
        self.entries = entries
        self.watermarks = watermarks.snapshot()
        self.arrived: set[int] = set()
        self.node: NodeCut | None = None


class Inlet:
    """One queue an input. Its ``run`` hands elements on to one node, from the input that is furthest behind in time.

    A barrier overtakes what waits (as Flink's unaligned checkpoints do): at the first one of a checkpoint the node's
    state is taken and the barrier sent on, and the records that wait become part of the checkpoint, with those that
    still come in front of the other inputs' barriers. So a checkpoint takes no longer where a model is slow.

    Args:
        queues: one an input.
        participant: the node's end of its checkpoints.
        counts: of the node; gets how many records wait.
        held: inputs whose elements wait until all the others have ended.
    """

    def __init__(
        self,
        queues: Sequence[ElementQueue],
        participant: Participant,
        counts: NodeCounts,
        held: frozenset[int] = frozenset(),
    ) -> None:
        self._queues = queues
        self._participant = participant
        self._counts = counts
        self._held = held
        self._watermarks = InputWatermarks(len(queues))
        self._end_arrived = [False] * len(queues)
        self._ended = [False] * len(queues)
        self._wake_senders: list[list[Callable[[], None]]] = [[] for _ in queues]
        self._changed = asyncio.Event()
        self._cut: _OpenCut | None = None
        self._asked_for = 0
        self._last_cut = 0
        self._last_served = 0
        self._is_waiting = False
        self._target: Target

    def follow(self, target: Target) -> None:
        """Hand elements on to ``target``, whose followers are all connected."""
        self._target = target
        target.on_can_take(self._changed.set)

    @property
    def has_records(self) -> bool:
        """Whether records wait."""
        return any(queue.records for queue in self._queues)

    @property
    def is_waiting(self) -> bool:
        """Whether there is nothing to hand on."""
        return self._is_waiting and not self._changed.is_set()

    def has_room(self, input_index: int) -> bool:
        """Return whether the sender of an input may go on."""
        return not self._queues[input_index].is_full

    def on_room(self, input_index: int, wake: Callable[[], None]) -> None:
        """Have ``wake`` called whenever the queue of an input has become shorter."""
        self._wake_senders[input_index].append(wake)

    async def restore(self, inbox: Inbox) -> None:
        """Take up what waited at a checkpoint, in front of everything that comes now."""
        self._watermarks.restore(inbox.watermarks)
        for index, element in inbox.entries():
            if index == IN_OPERATOR:
                await self._target.accept(element, 0)
            else:
                self._queues[index].put(element)
        self._counts.records_queued = sum(queue.records for queue in self._queues)

    async def accept(self, element: Element, input_index: int) -> None:
        """Queue an element, or take a barrier."""
        # Nothing in here waits: a cut finds every element either in a queue or with the node.
        if isinstance(element, Barrier):
            if self._cut is None or self._cut.number < element.checkpoint:
                self._begin_cut(element.checkpoint)
            if self._cut is not None and self._cut.number == element.checkpoint:
                self._cut.arrived.add(input_index)
        else:
            if self._cut is not None and input_index not in self._cut.arrived:
                self._cut.entries.append(InboxEntry(input_index, element))
            self._queues[input_index].put(element)
            if isinstance(element, End):
                self._end_arrived[input_index] = True
                self._begin_cut_after_end()
            elif isinstance(element, pl.DataFrame):
                self._counts.records_queued += element.height
        self._look()
        self._changed.set()

    def request_barrier(self, checkpoint: int) -> None:
        """Take part in a checkpoint also where every node in front has ended, and sends no barrier."""
        self._asked_for = checkpoint
        self._begin_cut_after_end()
        self._changed.set()

    async def run(self) -> None:
        """Hand everything on until every input has ended and the node has let everything out."""
        while not all(self._ended):
            if not await self._step():
                await self._wait()
        self._target.begin_drain()
        while not self._target.is_drained():
            if not await self._pass_barrier():
                await self._wait()
        await self._target.accept(End(), 0)

    def close(self) -> None:
        """Release what is held."""
        for queue in self._queues:
            queue.close()

    async def _step(self) -> bool:
        if await self._pass_barrier():
            return True
        index = self._next_input() if self._target.can_take() else None
        if index is None:
            return False
        self._last_served = index
        element = self._queues[index].get()
        if isinstance(element, pl.DataFrame):
            self._counts.records_queued -= element.height
        for wake in self._wake_senders[index]:
            wake()
        await self._hand_on(element, index)
        return True

    async def _wait(self) -> None:
        self._is_waiting = True
        self._changed.clear()
        await self._changed.wait()
        self._is_waiting = False

    def _next_input(self) -> int | None:
        count = len(self._queues)
        held = self._held if not all(ended or i in self._held for i, ended in enumerate(self._ended)) else ()
        ready = [index for index in range(count) if len(self._queues[index]) and index not in held]
        if len(ready) < 2:
            return ready[0] if ready else None
        # The one that is furthest behind, so that a join keeps little; else in turn.
        return min(ready, key=lambda i: (self._watermarks.time_of(i), (i - self._last_served - 1) % count))

    async def _hand_on(self, element: Element, index: int) -> None:
        if isinstance(element, Watermark):
            watermark = self._watermarks.advance(index, element)
        elif isinstance(element, End):
            self._ended[index] = True
            watermark = self._watermarks.end(index)
        else:
            await self._target.accept(element, index)
            return
        if watermark is not None:
            await self._target.accept(watermark, 0)

    def _begin_cut_after_end(self) -> None:
        if self._asked_for > self._last_cut and all(self._end_arrived):
            self._begin_cut(self._asked_for)

    def _begin_cut(self, number: int) -> None:
        if number <= self._last_cut:
            return
        self._last_cut = number
        waiting = [InboxEntry(index, item) for index, queue in enumerate(self._queues) for item in queue.waiting()]
        self._cut = _OpenCut(number, waiting, self._watermarks)

    async def _pass_barrier(self) -> bool:
        cut = self._cut
        if cut is None or cut.node is not None:
            return False
        # Nothing was handed on since the cut began: that is done by this task alone.
        cut.node = await self._target.on_barrier(Barrier(cut.number))
        self._look()
        return True

    def _look(self) -> None:
        cut = self._cut
        if cut is None or cut.node is None:
            return
        if all(end or index in cut.arrived for index, end in enumerate(self._end_arrived)):
            self._cut = None
            in_flight = [InboxEntry(IN_OPERATOR, element) for element in cut.node.in_flight]
            inbox = Inbox.of([*in_flight, *cut.entries], cut.watermarks)
            self._participant.acknowledge(cut.number, cut.node.state, inbox)
