"""Who joins a mesh at work has heard of its engines before the first request comes."""

from __future__ import annotations

import asyncio
import time

import pytest
from fixtures.engines import FakeEngine

from sage_common.clock import MonotonicClock
from sage_mesh import first_heartbeats
from sage_mesh.directory import EngineDirectory
from sage_mesh.executor.executor import Executor
from sage_mesh.first_heartbeats import hear_executors
from sage_platform.kv import open_bucket
from sage_platform.registry import Instance, Registration
from sage_platform.ring import Ring


async def test_every_registered_executor_has_been_heard_when_the_wait_ends(ring: Ring) -> None:
    services = await open_bucket(ring.connection.jetstream(), "services-heard", ttl_seconds=10)
    registration = Registration(services, Instance("embed-executor", "embedder", "127.0.0.1", 1, 1))
    await registration.start()
    executor = Executor(ring, "embedder", "embed-executor", MonotonicClock())
    await executor.start()
    await executor.host(FakeEngine("e1"))
    directory = EngineDirectory(ring, "late", MonotonicClock())
    await directory.start()
    await asyncio.wait_for(hear_executors(directory, services), 5)
    assert "e1" in directory.engines
    await directory.stop()
    await executor.stop(0)
    await registration.stop()


async def test_one_that_has_died_and_services_without_engines_are_not_waited_for_long(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = await open_bucket(ring.connection.jetstream(), "services-dead", ttl_seconds=10)
    directory = EngineDirectory(ring, "late", MonotonicClock())
    await directory.start()
    scheduler = Registration(services, Instance("scheduler", "s", "127.0.0.1", 1, 1))
    await scheduler.start()
    monkeypatch.setattr(first_heartbeats, "LONGEST_SECONDS", 60)
    await asyncio.wait_for(hear_executors(directory, services), 5)
    monkeypatch.setattr(first_heartbeats, "LONGEST_SECONDS", 0.05)
    dead = Registration(services, Instance("llm-coordinator", "dead", "127.0.0.1", 2, 2))
    await dead.start()
    began = time.monotonic()
    await hear_executors(directory, services)
    assert time.monotonic() - began >= 0.05
    await directory.stop()
    for registration in (scheduler, dead):
        await registration.stop()
