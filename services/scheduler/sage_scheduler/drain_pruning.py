"""Forgetting the orders to drain engines that are gone for good.

An engine's id belongs to one life of its executor, unless an operator fixes instance ids, so the order for one that is
gone has no use; kept for ever, the orders of all the engines that ever were would be read by every scheduler. An engine
that is away for a while must stay drained, and an order that is given anew in the same moment must not be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from nats.errors import Error as NatsError

from sage_common.clock import Clock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_scheduler.control_board import ControlBoard

log = get_logger(__name__)

LOOK_SECONDS = 60.0


class DrainPruning:
    """Every replica runs one; a delete names the revision, so that two of them do no harm.

    Args:
        engines: ids of the engines that are there now.
        absent_seconds: how long an engine is to have been away, as this replica has seen it.
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
        """Begin to look."""
        self._task = asyncio.create_task(self._look_forever(), name="drain-pruning")

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            await end_tasks(self._task)

    async def reconcile(self) -> None:
        """Forget what has become useless. Raises NatsError or asyncio.TimeoutError; the next look goes on."""
        now, there = self._clock.now(), self._engines()
        orders = self._board.drain_orders()
        absent = {key: engine_id for key, (engine_id, _) in orders.items() if engine_id and engine_id not in there}
        self._absent_since = {key: self._absent_since.get(key, now) for key in absent}
        for key, (engine_id, revision) in orders.items():
            long_gone = now - self._absent_since.get(key, now) >= self._absent_seconds
            useless = not engine_id or (engine_id not in there and long_gone)
            if useless and await self._board.forget(key, revision):
                log.info("order to drain an engine forgotten", engine=engine_id or "taken back", key=key)
        await self._board.clear_markers()

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.reconcile()
            except (NatsError, asyncio.TimeoutError) as error:
                log.warning("orders not looked through; later", error=str(error) or repr(error))
