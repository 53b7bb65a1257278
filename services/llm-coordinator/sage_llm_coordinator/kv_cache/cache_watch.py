"""Follows the prefix cache of one engine, from its server's events to what schedulers are told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_llm_coordinator.kv_cache.account_sender import AccountSender, CacheReports
from sage_llm_coordinator.kv_cache.block_account import BlockAccount
from sage_llm_coordinator.kv_cache.event_feed import EventFeed
from sage_llm_coordinator.kv_cache.kv_events import FeedAddress, KvEvent

log = get_logger(__name__)


class CacheWatch:
    """One engine's cache. ``start`` before use.

    Args:
        address: where its server publishes events.
    """

    def __init__(self, engine_id: str, pool: str, address: FeedAddress, reports: CacheReports) -> None:
        self._engine_id = engine_id
        self._address = address
        self._reports = reports
        self._account = BlockAccount()
        self._sender = AccountSender(engine_id, self._account, reports.sender(pool))
        self._reading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self._reports.attach(self._sender)
        feed = EventFeed(self._address, self._on_events, self._on_gap, self._on_lost)
        self._reading = asyncio.create_task(self._read(feed), name=f"kv-events-{self._engine_id}")

    async def stop(self) -> None:
        """Stop reading, and say that the cache is not known any more."""
        self._reports.detach(self._sender)
        if self._reading is not None:
            await end_tasks(self._reading)
        self._sender.lost()

    def on_prompt(self, model: str, texts: Sequence[int], token_ids: Sequence[int]) -> None:
        """Take in a prompt that the server has got; see ``BlockAccount.prompt``."""
        try:
            self._account.prompt(texts, token_ids, model)
        except (TypeError, OverflowError):
            log.warning("the server returned tokens of a prompt that are none", engine=self._engine_id)
            return
        self._sender.changed()

    async def _read(self, feed: EventFeed) -> None:
        try:
            await feed.run()
        except Exception:
            log.exception("KV cache events are not read any more", engine=self._engine_id, address=self._address.events)
            self._on_lost()

    def _on_events(self, events: list[KvEvent]) -> None:
        for event in events:
            try:
                self._account.take(event)
            except (TypeError, OverflowError) as error:
                log.warning("KV cache event not understood", engine=self._engine_id, error=str(error))
                self._account.clear()
        self._sender.changed()

    def _on_gap(self) -> None:
        self._account.clear()

    def _on_lost(self) -> None:
        self._account.clear()
        self._account.drop_changes()
        self._sender.lost()
