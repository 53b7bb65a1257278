"""Campaigns for the leases of the pools; starts a runner when one is gained and retires it when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from nats.errors import Error as NatsError
from nats.js.kv import KeyValue

from sage_common.clock import Clock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_platform.background import ServiceHealth, keep_running
from sage_platform.leases import Leadership
from sage_platform.ring import Ring
from sage_scheduler import lease_board
from sage_scheduler.hand_over import hand_over
from sage_scheduler.lease_board import LeaseBoard
from sage_scheduler.pool_runner import PoolRunner

log = get_logger(__name__)

REBALANCE_SECONDS = 1.0
# After a loss: the longest wait for the next leader, and the time it has to subscribe once it holds the lease.
NEXT_LEADER_SECONDS = 1.0
SUBSCRIBE_SECONDS = 0.05
# Without a leader for this long, when any replica may take a pool, nobody can lead it.
LEADERLESS_SECONDS = 3.0

MakeRunner = Callable[[str, int], PoolRunner]


class PoolLeases:
    """One leadership for each known pool, and one runner for each pool that this replica leads.

    Args:
        make_runner: makes the runner for (pool, epoch).
        health: is given the pools that nobody can lead.
    """

    def __init__(
        self,
        bucket: KeyValue,
        board: LeaseBoard,
        replica: str,
        ring: Ring,
        clock: Clock,
        make_runner: MakeRunner,
        health: ServiceHealth,
    ) -> None:
        self._bucket = bucket
        self._board = board
        self._replica = replica
        self._ring = ring
        self._clock = clock
        self._make_runner = make_runner
        self._health = health
        self._start_faults: dict[str, str] = {}
        self._leaderships: dict[str, Leadership] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._balancer: asyncio.Task[None] | None = None
        self._stopping = False
        self.runners: dict[str, PoolRunner] = {}

    @property
    def pools(self) -> list[str]:
        """Names of the known pools, sorted."""
        return sorted(self._leaderships)

    @property
    def leads_first(self) -> bool:
        """Whether this replica leads the first of the pools, by name."""
        return bool(self._leaderships) and min(self._leaderships) in self.runners

    def start(self) -> None:
        """Start to balance pools with the other replicas."""
        self._balancer = keep_running(self._balance_forever, name="pool-balancer")

    def attach(self, pools: Iterable[str]) -> None:
        """Campaign for these pools too."""
        for pool in pools:
            if pool not in self._leaderships:
                leadership = self._leadership(pool)
                self._leaderships[pool] = leadership
                leadership.start()

    async def stop(self) -> None:
        """Release every lease at once, and hand waiting requests over if there is another replica."""
        self._stopping = True
        if self._balancer is not None:
            await end_tasks(self._balancer)
        await asyncio.gather(*(leadership.stop() for leadership in self._leaderships.values()))
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _leadership(self, pool: str) -> Leadership:
        return Leadership(
            self._bucket,
            lease_board.key(pool),
            self._replica,
            clock=self._clock,
            on_gained=lambda epoch: self._gained(pool, epoch),
            on_lost=lambda: self._lost(pool),
            may_campaign=lambda: self._may_campaign(pool),
        )

    def _may_campaign(self, pool: str) -> bool:
        return self._board.shares(self._leaderships).may_take(self._board.free_seconds(pool))

    def _gained(self, pool: str, epoch: int) -> None:
        runner = self._make_runner(pool, epoch)
        self.runners[pool] = runner
        self._starting[pool] = asyncio.create_task(self._start(pool, runner), name=f"lead-{pool}")

    async def _start(self, pool: str, runner: PoolRunner) -> None:
        try:
            await runner.start()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            log.error("could not begin to lead; giving the pool up", pool=pool, error=reason, exc_info=error)
            self._start_faults[pool] = reason
            self._track(asyncio.create_task(self._release(pool)))
        else:
            self._start_faults.pop(pool, None)

    def _lost(self, pool: str) -> None:
        runner, starting = self.runners.pop(pool, None), self._starting.pop(pool, None)
        if runner is None or starting is None:
            return  # the runner could not be made
        runner.stop_deciding()
        self._track(asyncio.create_task(self._retire(pool, runner, starting), name=f"retire-{pool}"))

    def _track(self, task: asyncio.Task[None]) -> None:
        """Keep a reference to a task, which ``stop`` waits for."""
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _retire(self, pool: str, runner: PoolRunner, starting: asyncio.Task[None]) -> None:
        """Stop a runner once the next leader subscribes, so that no message is lost; then hand requests over."""
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        try:
            if self._board.others_live() and await self._board.until_another_leads(pool, NEXT_LEADER_SECONDS):
                await asyncio.sleep(SUBSCRIBE_SECONDS)
            waiting = await runner.stop()
            if waiting and (self._board.others_live() or not self._stopping):
                await hand_over(self._ring, self._clock, pool, waiting, lambda: bool(self._board.holder(pool)))
        except (NatsError, asyncio.TimeoutError) as error:
            log.warning("not handed over; the edges submit again", pool=pool, error=str(error) or repr(error))

    async def _balance_forever(self) -> None:
        while True:
            await asyncio.sleep(REBALANCE_SECONDS)
            self._report_leaderless()
            pool = self._board.shares(self._leaderships).to_give_up()
            if pool is not None and pool in self.runners:
                log.info("giving a pool up to a replica that has fewer", pool=pool)
                await self._release(pool)

    def _report_leaderless(self) -> None:
        for pool, leadership in self._leaderships.items():
            free_seconds = self._board.free_seconds(pool)
            reason = self._start_faults.get(pool) or leadership.last_error
            leaderless = pool not in self.runners and free_seconds > LEADERLESS_SECONDS
            # One that is taken and given up in turn, because it cannot be started, is as bad.
            if leaderless or pool in self._start_faults:
                because = f" ({reason})" if reason else ""
                self._health.report(f"pool {pool}", f"no scheduler can lead it, its requests wait{because}")
            else:
                self._health.report(f"pool {pool}", None)

    async def _release(self, pool: str) -> None:
        try:
            await self._leaderships[pool].release()
        except (NatsError, asyncio.TimeoutError) as error:
            log.warning("lease not given back; it expires by itself", pool=pool, error=str(error) or repr(error))
