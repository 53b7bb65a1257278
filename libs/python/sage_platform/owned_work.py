"""Work that any instance of a service may do and one does, under a lease; when it dies another goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from nats.errors import Error as NatsError
from nats.js.errors import KeyDeletedError, KeyNotFoundError
from nats.js.kv import KeyValue

from sage_common.clock import Clock
from sage_common.errors import describe
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_platform.followed_bucket import FollowedBucket
from sage_platform.leases import Leadership

log = get_logger(__name__)

LEASE_SECONDS = 4.0
# Between two looks for work whose holder has died; new work is heard of at once.
LOOK_SECONDS = 1.0
# How long a lease that looked free may take to be gained.
GAIN_SECONDS = 1.0
FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 30.0

W = TypeVar("W")


class OwnedWork(Generic[W]):
    """Takes open work and does it, the oldest first, but of the one first who has the least running here.

    Args:
        open_work: the marks of what is to be done; what is done has none any more.
        leases: bucket whose TTL is ``LEASE_SECONDS``.
        holder: id of this instance.
        do: does a piece of work, and takes its mark away. It is cancelled where the lease is lost; where it raises, it
            is called again later, here or elsewhere.
        owner_of: whose work a piece is.
        order_of: what is done first has the smallest.
        slots: how many pieces are done here at the same time.
    """

    def __init__(
        self,
        open_work: FollowedBucket[W],
        leases: KeyValue,
        holder: str,
        do: Callable[[W], Awaitable[None]],
        *,
        owner_of: Callable[[W], str],
        order_of: Callable[[W], str],
        slots: int,
        clock: Clock,
    ) -> None:
        self._open = open_work
        self._leases = leases
        self._holder = holder
        self._do = do
        self._owner_of = owner_of
        self._order_of = order_of
        self._slots = slots
        self._clock = clock
        self._running: dict[str, tuple[W, asyncio.Task[None]]] = {}
        self._failures: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}
        self._due = asyncio.Event()

    @property
    def running(self) -> int:
        """How many pieces are done here now."""
        return len(self._running)

    async def take_forever(self) -> None:
        """Take work until cancelled; what is being done then is left to others."""
        stop_listening = self._open.on_change(lambda _key: self._due.set())
        try:
            await self._open.has_read()
            while True:
                self._due.clear()
                await self._take()
                try:
                    await asyncio.wait_for(self._due.wait(), LOOK_SECONDS)
                except asyncio.TimeoutError:
                    continue
        finally:
            stop_listening()
            await end_tasks(*(task for _, task in self._running.values()))

    async def _take(self) -> None:
        """Take what is free, as far as there are slots."""
        self._forget_done()
        seen: set[str] = set()
        while len(self._running) < self._slots:
            key = self._next(seen)
            if key is None:
                return
            seen.add(key)
            if await self._is_free(key):
                work = self._open.latest[key].value if key in self._open.latest else None
                if work is not None:
                    task = asyncio.create_task(self._own(key, work), name=f"own-{key}")
                    self._running[key] = (work, task)

    def _next(self, seen: set[str]) -> str | None:
        """Return the key of what is to be taken next; None where nothing is."""
        now = self._clock.now()
        held = Counter(self._owner_of(work) for work, _ in self._running.values())
        wanted = [
            (held[self._owner_of(stored.value)], self._order_of(stored.value), key)
            for key, stored in self._open.latest.items()
            if key not in self._running and key not in seen and self._not_before.get(key, 0.0) <= now
        ]
        return min(wanted)[2] if wanted else None

    async def _is_free(self, key: str) -> bool:
        try:
            await self._leases.get(key)
        except (KeyNotFoundError, KeyDeletedError):
            return True
        except (NatsError, asyncio.TimeoutError) as error:
            log.warning("lease cannot be looked at", key=key, error=describe(error))
        return False

    async def _own(self, key: str, work: W) -> None:
        """Do a piece of work while its lease is held."""
        gained, lost = asyncio.Event(), asyncio.Event()
        lease = Leadership(
            self._leases,
            key,
            self._holder,
            clock=self._clock,
            on_gained=lambda _epoch: gained.set(),
            on_lost=lost.set,
            ttl_seconds=LEASE_SECONDS,
        )
        lease.start()
        try:
            try:
                await asyncio.wait_for(gained.wait(), GAIN_SECONDS)
            except asyncio.TimeoutError:
                return
            await self._do_while_held(key, work, lost)
        finally:
            await lease.stop()
            self._running.pop(key, None)
            self._due.set()

    async def _do_while_held(self, key: str, work: W, lost: asyncio.Event) -> None:
        doing = asyncio.ensure_future(self._do(work))
        waiting = asyncio.create_task(lost.wait())
        try:
            await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                log.warning("work left to others", key=key)
                return
            if doing.exception() is None:
                self._failures.pop(key, None)
            else:
                self._put_off(key, doing.exception())
        finally:
            await end_tasks(doing, waiting)

    def _put_off(self, key: str, error: BaseException | None) -> None:
        self._failures[key] += 1
        delay = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(self._failures[key] - 1, 16))
        self._not_before[key] = self._clock.now() + delay
        log.warning(
            "work broke off; it goes on later",
            key=key,
            error=describe(error) if error else "",
            kind=type(error).__name__,
            retry_in_seconds=delay,
        )

    def _forget_done(self) -> None:
        for key in [key for key in self._not_before if key not in self._open.latest]:
            del self._not_before[key]
            self._failures.pop(key, None)
