"""NATS ↔ domain for the subjects of all pools; each pool's own subjects are read by its runner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from nats.aio.subscription import Subscription

from sage.inference.v1 import engine_pb2, frame_pb2
from sage_control_plane.request.engine_state import DEFAULT_POOL, EngineState
from sage_mesh.directory import DirectoryChange, EngineDirectory
from sage_platform import subjects
from sage_platform.ring import Ring
from sage_scheduler.control_board import ControlBoard
from sage_scheduler.pool_leases import PoolLeases


class SchedulerRing:
    """Passes cancellations, inquiries, changes of engines and orders to the runners concerned."""

    def __init__(self, ring: Ring, directory: EngineDirectory, leases: PoolLeases, board: ControlBoard) -> None:
        self._ring = ring
        self._directory = directory
        self._leases = leases
        self._board = board
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Subscribe."""
        self._directory.listen(self._on_engines)
        self._subscriptions = [
            await self._ring.subscribe(subjects.CANCEL, engine_pb2.CancellationBatch, self._on_cancellations),
            await self._ring.subscribe(subjects.INQUIRE, engine_pb2.InquiryBatch, self._on_inquiries),
        ]
        pools = {state.spec.pool for state in self._directory.engines.values()}
        self._leases.attach({DEFAULT_POOL, *pools})

    async def stop(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            await subscription.unsubscribe()

    def apply_orders(self) -> None:
        """Apply the present orders to every runner."""
        drained = self._board.drained()
        for pool, runner in self._leases.runners.items():
            runner.apply_orders(self._board.policy(pool), drained)

    def _on_cancellations(self, items: Sequence[engine_pb2.Cancellation]) -> None:
        for runner in self._leases.runners.values():
            runner.cancel(items)

    def _on_inquiries(self, items: Sequence[engine_pb2.Inquiry]) -> None:
        for inquiry in items:
            request_id = inquiry.request_id
            if any(runner.holds(request_id) for runner in self._leases.runners.values()):
                self._ring.send(inquiry.reply_subject, frame_pb2.Frame(request_id=request_id, held=True))

    def _on_engines(self, change: DirectoryChange) -> None:
        updated, lost = _by_pool(change.updated), _by_pool(change.lost)
        self._leases.attach(updated)
        for pool in {*updated, *lost}:
            runner = self._leases.runners.get(pool)
            if runner is not None:
                runner.engines_changed(updated.get(pool, []), lost.get(pool, []), change.reason)


def _by_pool(states: Sequence[EngineState]) -> dict[str, list[EngineState]]:
    pools: defaultdict[str, list[EngineState]] = defaultdict(list)
    for state in states:
        pools[state.spec.pool].append(state)
    return dict(pools)
