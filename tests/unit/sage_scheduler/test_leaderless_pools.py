"""A pool that nobody can lead is said to be, by gRPC health as by everything that reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from fixtures.engines import FakeEngine, answer
from fixtures.mesh import CHAT, Mesh
from prometheus_client import CollectorRegistry

from sage_common.clock import MonotonicClock
from sage_platform import subjects
from sage_platform.background import ServiceHealth
from sage_scheduler import pool_leases
from sage_scheduler.config import SchedulerSettings
from sage_scheduler.main import Scheduler, assemble
from sage_scheduler.pool_runner import PoolRunner


class Watched:
    """A scheduler with a health that the test can wait on."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.health = ServiceHealth(self.changed.set)

    async def start(self, mesh: Mesh) -> Scheduler:
        ring = await mesh.new_ring()
        made = await assemble(
            ring,
            ring.connection.jetstream(),
            "alone",
            SchedulerSettings(),
            MonotonicClock(),
            CollectorRegistry(),
            self.health,
        )
        mesh.stack.push_async_callback(made.stop)
        return made

    async def until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not condition():
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(wait(), 10)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_leases, "LEADERLESS_SECONDS", 0.5)
    monkeypatch.setattr(pool_leases, "REBALANCE_SECONDS", 0.1)


@pytest.mark.usefixtures("quick")
async def test_a_lease_that_cannot_be_taken_is_the_reason_until_it_can(mesh: Mesh) -> None:
    await mesh.host(FakeEngine("fake-0", answer))
    watched = Watched()
    await watched.start(mesh)
    assert await mesh.submit("first", timeout_seconds=20).read() == CHAT
    assert watched.health.summary is None
    js = mesh.ring.connection.jetstream()
    stream = (await js.stream_info(f"KV_{subjects.BUCKET_LEASES}")).config
    stream.sealed = True
    await js.update_stream(stream)
    await watched.until(lambda: watched.health.summary is not None)
    assert "pool main: no scheduler can lead it" in (watched.health.summary or "")
    await js.delete_stream(str(stream.name))
    await watched.until(lambda: watched.health.summary is None)
    assert await mesh.submit("second", timeout_seconds=20).read() == CHAT


@pytest.mark.usefixtures("quick")
async def test_a_leader_that_cannot_begin_is_the_reason_until_it_can(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mesh.host(FakeEngine("fake-0", answer))
    start = PoolRunner.start

    async def fails(_runner: PoolRunner) -> None:
        raise RuntimeError("it cannot begin")

    monkeypatch.setattr(PoolRunner, "start", fails)
    watched = Watched()
    await watched.start(mesh)
    await watched.until(lambda: watched.health.summary is not None)
    assert "RuntimeError: it cannot begin" in (watched.health.summary or "")
    monkeypatch.setattr(PoolRunner, "start", start)
    await watched.until(lambda: watched.health.summary is None)
    assert await mesh.submit("first", timeout_seconds=20).read() == CHAT


async def test_records_that_cannot_be_read_stop_no_scheduler(mesh: Mesh) -> None:
    await mesh.host(FakeEngine("fake-0", answer))
    watched = Watched()
    await watched.start(mesh)
    js = mesh.ring.connection.jetstream()
    for bucket, key in (("services", "scheduler.x"), ("control", "policy._every"), ("control", "drain.x")):
        for garbage in (b"\xff\xfe", b"", b"[]", b"null", b'{"instance_id": 3}'):
            await js.publish(f"$KV.{bucket}.{key}", garbage)
    await js.publish(f"$KV.{subjects.BUCKET_LEASES}.pool.other", b"\xff")
    assert await mesh.submit("first", timeout_seconds=20).read() == CHAT
    assert watched.health.summary is None
