"""Pools and engines, as this replica knows them → protobuf."""

from __future__ import annotations

from sage.scheduler.v1 import scheduler_pb2
from sage_control_plane.request.engine_state import EngineState
from sage_mesh.directory import EngineDirectory
from sage_mesh.wire.engines import state_to_wire
from sage_scheduler.control_board import ControlBoard
from sage_scheduler.lease_board import LeaseBoard
from sage_scheduler.pool_leases import PoolLeases


class Inspection:
    """Reads the managers of the pools led here, the boards of leases and orders, and the engine directory."""

    def __init__(
        self, replica: str, directory: EngineDirectory, leases: PoolLeases, lease_board: LeaseBoard, board: ControlBoard
    ) -> None:
        self._replica = replica
        self._directory = directory
        self._leases = leases
        self._lease_board = lease_board
        self._board = board

    def status(self) -> scheduler_pb2.GetStatusResponse:
        """Return the pools with their leaders; only those led here have counts."""
        pools = [self._pool(pool) for pool in self._leases.pools]
        return scheduler_pb2.GetStatusResponse(instance_id=self._replica, pools=pools)

    def engines(self) -> list[scheduler_pb2.EngineBook]:
        """Return every engine by id. Those of pools led elsewhere have no breaker, and counts from heartbeats."""
        states = self._directory.engines
        return [self._engine(states[engine_id]) for engine_id in sorted(states)]

    def engine(self, engine_id: str) -> scheduler_pb2.EngineBook | None:
        """Return one engine; None when it is not in the directory."""
        state = self._directory.engines.get(engine_id)
        return None if state is None else self._engine(state)

    def _pool(self, pool: str) -> scheduler_pb2.PoolStatus:
        status = scheduler_pb2.PoolStatus(
            pool=pool, leader=self._lease_board.holder(pool), policy=self._board.policy(pool).policy
        )
        runner = self._leases.runners.get(pool)
        if runner is not None:
            manager = runner.manager
            status.leading = True
            status.leader = self._replica
            status.policy = manager.policy
            status.queued = manager.queued
            status.outstanding = manager.outstanding
            status.dispatched = manager.totals.dispatched
            status.refused = sum(manager.totals.refused.values())
            status.retried = manager.totals.retried
            status.interrupted = manager.totals.interrupted
            status.recomputed_tokens = manager.totals.recomputed_tokens
            status.epoch = runner.epoch
        return status

    def _engine(self, state: EngineState) -> scheduler_pb2.EngineBook:
        engine_id = state.spec.engine_id
        message = scheduler_pb2.EngineBook(
            state=state_to_wire(state),
            executor_id=state.executor_id,
            outstanding=len(state.running),
            outstanding_tokens=sum(running.tokens for running in state.running),
            draining=engine_id in self._board.drained(),
            heartbeat_age_ms=int(min(1e9, self._directory.heartbeat_age_seconds(state.executor_id) * 1000)),
        )
        runner = self._leases.runners.get(state.spec.pool)
        entry = runner.manager.engines.get(engine_id) if runner else None
        if entry is not None:
            message.outstanding = entry.credits.requests
            message.outstanding_tokens = entry.credits.tokens
            message.draining = entry.draining
            message.breaker = entry.breaker.shown
            message.request_cap = entry.credits.request_cap
        return message
