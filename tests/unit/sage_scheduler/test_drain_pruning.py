"""Orders to drain engines that are gone for good are forgotten; those for engines that are away a while are not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fixtures.eventually import eventually
from fixtures.manual_clock import ManualClock
from fixtures.mesh import Mesh
from nats.js.kv import KeyValue

from sage_common.clock import Clock, MonotonicClock
from sage_platform import subjects
from sage_platform.kv import open_bucket, purge_until, read_all
from sage_scheduler.control_board import MARKER_SECONDS, ControlBoard
from sage_scheduler.drain_pruning import DrainPruning
from sage_scheduler.policy_orders import PolicyChoice

HOUR = 3600.0


@asynccontextmanager
async def board_of(mesh: Mesh, clock: Clock | None = None) -> AsyncIterator[tuple[ControlBoard, KeyValue]]:
    bucket = await open_bucket(mesh.ring.connection.jetstream(), subjects.BUCKET_CONTROL)
    board = ControlBoard(bucket, clock or MonotonicClock(), "hybrid", lambda: None)
    await board.start()
    try:
        yield board, bucket
    finally:
        await board.stop()


async def test_the_order_for_an_engine_that_is_gone_is_forgotten_after_a_while(mesh: Mesh) -> None:
    async with board_of(mesh) as (board, bucket):
        clock, there = ManualClock(50.0), {"stays", "leaves"}
        pruning = DrainPruning(board, lambda: there, clock, HOUR)
        await board.set_drain("stays", True)
        await board.set_drain("leaves", True)
        await board.set_policy(None, PolicyChoice("fifo"))
        await pruning.reconcile()
        there.remove("leaves")
        for _ in range(2):
            await pruning.reconcile()
            clock.at += HOUR - 1
        assert board.drained() == {"stays", "leaves"}
        await pruning.reconcile()
        await eventually(lambda: board.drained() == {"stays"})
        assert set((await read_all(bucket)).values()) == {b"stays", b"fifo"}


async def test_an_engine_that_comes_back_in_time_stays_drained(mesh: Mesh) -> None:
    async with board_of(mesh) as (board, _):
        clock, there = ManualClock(50.0), {"e"}
        pruning = DrainPruning(board, lambda: there, clock, HOUR)
        await board.set_drain("e", True)
        for _ in range(5):
            there.clear()
            await pruning.reconcile()
            clock.at += HOUR - 1
            there.add("e")
            await pruning.reconcile()
            clock.at += HOUR - 1
        assert board.drained() == {"e"}


async def test_an_order_given_anew_meanwhile_is_kept(mesh: Mesh) -> None:
    async with board_of(mesh) as (board, _):
        await board.set_drain("e", True)
        ((key, (_, revision)),) = board.drain_orders().items()
        await board.set_drain("e", True)
        assert not await board.forget(key, revision)
        assert board.drained() == {"e"}


async def test_an_order_that_was_taken_back_leaves_no_key(mesh: Mesh) -> None:
    async with board_of(mesh) as (board, bucket):
        await board.set_drain("e", True)
        await board.set_drain("e", False)
        await DrainPruning(board, lambda: {"e"}, ManualClock(50.0), HOUR).reconcile()
        await eventually(lambda: not board.drain_orders())
        assert await read_all(bucket) == {}


async def messages_in(bucket: KeyValue) -> int:
    """Everything that is kept for a bucket, marks of deletes included."""
    return (await bucket.status()).values


async def test_what_a_forgotten_order_leaves_behind_is_cleared_after_a_while(mesh: Mesh) -> None:
    clock = ManualClock(50.0)
    async with board_of(mesh, clock) as (board, bucket):
        pruning = DrainPruning(board, lambda: {"stays"}, clock, HOUR)
        await board.set_drain("stays", True)
        for number in range(20):
            await board.set_drain(f"e{number}", True)
            await board.set_drain(f"e{number}", False)
        await pruning.reconcile()
        await eventually(lambda: len(board.drain_orders()) == 1)
        clock.at += MARKER_SECONDS - 1
        await pruning.reconcile()
        assert await messages_in(bucket) == 21
        clock.at += 1
        await pruning.reconcile()
        assert await messages_in(bucket) == 1
        assert board.remembered == 1
        assert board.drained() == {"stays"}


async def test_an_order_that_is_given_while_the_old_ones_mark_is_cleared_stays(mesh: Mesh) -> None:
    async with board_of(mesh) as (board, bucket):
        await board.set_drain("e", True)
        ((key, (_, revision)),) = board.drain_orders().items()
        assert await board.forget(key, revision)
        await board.set_drain("e", True)
        await purge_until(bucket, key, revision + 1)
        assert await read_all(bucket) == {key: b"e"}


async def test_a_replica_that_missed_a_delete_and_its_mark_forgets_the_order_too(mesh: Mesh) -> None:
    async with board_of(mesh) as (board, bucket):
        await board.set_drain("e", True)
        ((key, (_, revision)),) = board.drain_orders().items()
        await purge_until(bucket, key, revision)
        assert not await board.forget(key, revision)
        assert board.drain_orders() == {}
