"""Deletes the orders to drain engines that are gone for good.

An engine's id belongs to one run of its executor, unless an operator fixes instance ids, so the order for an engine
that is gone is useless, and without a bound every scheduler would read the orders of all past engines. An engine that
is absent for a short time must stay drained, and an order that is given again at the same moment must not be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from nats.errors import Error as NatsError

from sage_common.clock import Clock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_platform.background import keep_running
from sage_scheduler.control_board import ControlBoard

log = get_logger(__name__)

PRUNE_SECONDS = 60.0


class DrainPruning:
    """Deletes orders periodically. Every replica runs one; a delete names the revision, so that they do not conflict.

    Args:
        engines: returns the ids of the present engines.
        absent_seconds: absence of an engine, as this replica observes it, after which its order is deleted.
    """

    def __init__(
        self, board: ControlBoard, engines: Callable[[], Collection[str]], clock: Clock, absent_seconds: float
    ) -> None:
        self._board = board
        self._engines = engines
        self._clock = clock
        self._absent_seconds = absent_seconds
        self._absent_since: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to prune."""
        self._task = keep_running(self._prune_forever, name="drain-pruning")

    async def stop(self) -> None:
        """Stop pruning."""
        if self._task is not None:
            await end_tasks(self._task)

    async def reconcile(self) -> None:
        """Delete useless orders and old markers once. Raises NatsError or asyncio.TimeoutError."""
        now, present = self._clock.now(), self._engines()
        orders = self._board.drain_orders()
        absent = {key: engine_id for key, (engine_id, _) in orders.items() if engine_id and engine_id not in present}
        self._absent_since = {key: self._absent_since.get(key, now) for key in absent}
        for key, (engine_id, revision) in orders.items():
            long_gone = now - self._absent_since.get(key, now) >= self._absent_seconds
            useless = engine_id is None or (engine_id not in present and long_gone)
            if useless and await self._board.forget(key, revision):
                log.info("order to drain an engine deleted", engine=engine_id or "(undone)", key=key)
        await self._board.clear_markers()

    async def _prune_forever(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            try:
                await self.reconcile()
            except (NatsError, asyncio.TimeoutError) as error:
                log.warning("drain orders could not be pruned; trying again later", error=str(error) or repr(error))
