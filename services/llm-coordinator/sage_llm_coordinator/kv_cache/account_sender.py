"""Sends what the engines of this coordinator hold to the schedulers of their pools."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final, Protocol

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from sage_control_plane.request.cached_blocks import CachedBlocks
from sage_llm_coordinator.kv_cache.block_account import BlockAccount
from sage_mesh.wire.caches import cached_blocks_to_wire
from sage_platform import subjects
from sage_platform.ring import Ring

# A scheduler counts on what it dispatched at once; the rest can wait so long.
SEND_SECONDS: Final = 0.1
# Blocks of one message, which is 64 KiB then; what is beyond comes with the next.
MOST_BLOCKS_SENT: Final = 8_192

Send = Callable[[CachedBlocks], None]


class AccountSender:
    """Sends one account: changes as they come, at most every ``SEND_SECONDS``; the whole where it is asked for.

    Args:
        send: puts a message on its way.
    """

    def __init__(self, engine_id: str, account: BlockAccount, send: Send) -> None:
        self._engine_id = engine_id
        self._account = account
        self._send = send
        self._name = 0
        self._sequence = 0
        self._rest: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._whole = False

    def tell_whole(self) -> None:
        """Send the whole account soon. Nothing where the cache is not known."""
        if self._name:
            self._whole = True
            self._arm()

    def changed(self) -> None:
        """Send what has changed soon. The first change begins an account."""
        if not self._name:
            self._name = int.from_bytes(os.urandom(8), "big") or 1
            self._sequence = 0
            self._whole = True
        if self._whole or self._account.has_changes:
            self._arm()

    def lost(self) -> None:
        """Say at once that the cache is not known any more."""
        self.stop()
        if self._name:
            self._name = 0
            self._send(CachedBlocks(self._engine_id, 0))

    def stop(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SEND_SECONDS, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if whole := self._whole:
            self._whole = False
            self._account.drop_changes()
            self._rest = self._account.held()
        # What is left of the whole, and has gone meanwhile, is said to be gone by the changes after it.
        stored, self._rest = self._rest[:MOST_BLOCKS_SENT], self._rest[MOST_BLOCKS_SENT:]
        removed: list[int] = []
        if not self._rest and len(stored) < MOST_BLOCKS_SENT:
            came, removed = self._account.changes(MOST_BLOCKS_SENT - len(stored))
            left = set(removed)
            stored = [text for text in stored if text not in left] + came
        self._sequence += 1
        self._send(CachedBlocks(self._engine_id, self._name, self._sequence, whole, tuple(stored), tuple(removed)))
        if self._rest or self._account.has_changes:
            self._arm()


class Told(Protocol):
    """What is told in whole again where somebody asks."""

    def tell_whole(self) -> None: ...


class CacheReports:
    """The accounts of this coordinator's engines, on the ring. ``start`` before use."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._told: set[Told] = set()
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Answer whoever asks: a scheduler that begins to lead, or has missed a message."""
        self._subscription = await self._ring.connection.subscribe(subjects.HELLO, cb=self._on_hello)

    async def stop(self) -> None:
        """Answer nobody any more."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    def attach(self, told: Told) -> None:
        """Have an account told in whole where it is asked for."""
        self._told.add(told)

    def detach(self, told: Told) -> None:
        """Leave it out from here on."""
        self._told.discard(told)

    def sender(self, pool: str) -> Send:
        """Return what sends messages to the scheduler of a pool."""
        subject = subjects.cache(pool)
        return lambda blocks: self._ring.send(subject, cached_blocks_to_wire(blocks))

    async def _on_hello(self, _message: Msg) -> None:
        for one in self._told:
            one.tell_whole()
