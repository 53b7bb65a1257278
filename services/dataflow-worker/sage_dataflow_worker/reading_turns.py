"""Whose pipeline is read next. No I/O.

Reading takes time in proportion to a pipeline's length. A tenant may keep all readers but one busy, so that one is
free, or soon, for another; and long pipelines all but two, so that a tenant's own short ones need not wait for them.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sage_common.errors import ContendedError

# A shorter pipeline is read within some tens of milliseconds, whatever is in it.
LONG_BYTES = 64 * 1024
# Pipelines that wait, each of a megabyte at most, before callers are told to try again.
MOST_WAITING_OF_TENANT = 16
MOST_WAITING = 128


@dataclass(eq=False)
class _Turn:
    tenant: str
    is_long: bool
    begins: asyncio.Future[None]


class ReadingTurns:
    """Gives turns to tenants one after the other, within a tenant in the order in which they were asked for.

    Args:
        readers: how many may be had at once.
    """

    def __init__(self, readers: int) -> None:
        self._readers = readers
        # With one reader there is nothing to keep free.
        self._most_of_tenant = max(1, readers - 1)
        self._most_long = max(1, readers - 2)
        self._waiting: OrderedDict[str, deque[_Turn]] = OrderedDict()
        self._of_tenant: Counter[str] = Counter()
        self._running = 0
        self._long = 0

    @asynccontextmanager
    async def turn(self, tenant: str, size: int, *, has_caller: bool = False) -> AsyncIterator[None]:
        """Wait for a reader, and keep it while the body runs.

        Args:
            has_caller: somebody who can try again waits for the answer; jobs that were accepted wait their turn.

        Raises:
            ContendedError: there is a caller, and too many pipelines wait already.
        """
        if has_caller:
            self._check_room(tenant)
        turn = _Turn(tenant, size > LONG_BYTES, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(tenant, deque()).append(turn)
        self._begin_next()
        try:
            await turn.begins
            yield
        finally:
            if turn.begins.done() and not turn.begins.cancelled():
                self._count(turn, -1)
            else:
                self._forget(turn)
            self._begin_next()

    def _check_room(self, tenant: str) -> None:
        of_tenant = len(self._waiting.get(tenant, ()))
        if of_tenant >= MOST_WAITING_OF_TENANT or sum(map(len, self._waiting.values())) >= MOST_WAITING:
            raise ContendedError(
                f"{of_tenant} pipelines of yours wait to be read, and others' as well; try again when some have been",
                code="validation_busy",
                retry_after_seconds=1.0,
                retryable=True,
            )

    def _begin_next(self) -> None:
        while self._running < self._readers and (turn := self._take()) is not None:
            self._count(turn, 1)
            turn.begins.set_result(None)

    def _take(self) -> _Turn | None:
        for tenant, turns in self._waiting.items():
            if self._of_tenant[tenant] >= self._most_of_tenant:
                continue
            for turn in turns:
                if not (turn.is_long and self._long >= self._most_long):
                    self._forget(turn)
                    if tenant in self._waiting:
                        self._waiting.move_to_end(tenant)
                    return turn
        return None

    def _forget(self, turn: _Turn) -> None:
        turns = self._waiting.get(turn.tenant, deque())
        if turn in turns:
            turns.remove(turn)
        if not turns:
            self._waiting.pop(turn.tenant, None)

    def _count(self, turn: _Turn, change: int) -> None:
        self._running += change
        self._long += change * turn.is_long
        self._of_tenant[turn.tenant] += change
        if not self._of_tenant[turn.tenant]:
            del self._of_tenant[turn.tenant]
