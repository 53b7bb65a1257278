"""The view of the engines, from heartbeats on a real nats-server."""

from __future__ import annotations

import asyncio
import time

from fixtures.engines import FakeEngine
from fixtures.manual_clock import ManualClock
from fixtures.nats import NatsProcess

from sage.inference.v1 import engine_pb2
from sage_common.clock import MonotonicClock
from sage_common.service_settings import NatsSettings
from sage_control_plane.request.request import Endpoint
from sage_mesh.directory import MISSED_HEARTBEATS, REMEMBER_SILENT_SECONDS, DirectoryChange, EngineDirectory
from sage_mesh.executor.executor import Executor
from sage_platform import subjects
from sage_platform.nats_connection import connect
from sage_platform.ring import Ring

INTERVAL_MS = 50
SILENCE_SECONDS = MISSED_HEARTBEATS * INTERVAL_MS / 1000


async def test_a_stall_of_its_own_is_no_silence_of_the_executors_but_silence_is(nats_server: NatsProcess) -> None:
    connection = await connect(NatsSettings(url=nats_server.url), name="test")
    ring = Ring(connection)
    await ring.start()
    directory = EngineDirectory(ring, "one", MonotonicClock())
    changes: asyncio.Queue[DirectoryChange] = asyncio.Queue()
    directory.listen(changes.put_nowait)
    await directory.start()
    engine = engine_pb2.EngineState(spec=engine_pb2.EngineSpec(engine_id="e1", pool="p", max_concurrency=1))
    heartbeat = engine_pb2.Heartbeat(executor_id="x", interval_ms=INTERVAL_MS, engines=[engine])
    await connection.publish(subjects.HEARTBEAT, heartbeat.SerializeToString())
    assert (await asyncio.wait_for(changes.get(), 5)).updated
    began = time.monotonic()
    time.sleep(3 * SILENCE_SECONDS)  # noqa: ASYNC251 - the stall, as SIGSTOP or a suspended machine makes it
    change = await asyncio.wait_for(changes.get(), 5)
    assert change.reason == "its executor is silent"
    assert time.monotonic() - began > 3.5 * SILENCE_SECONDS
    await directory.stop()
    await ring.close()
    await connection.close()


async def test_the_models_of_a_silent_executor_stay_in_the_catalog_for_a_while(ring: Ring) -> None:
    clock = ManualClock()
    directory = EngineDirectory(ring, "edge", clock)
    await directory.start()
    executor = Executor(ring, "executor-silent", "test", MonotonicClock())
    await executor.start()
    await executor.host(FakeEngine("fake-silent", model="steady"))
    assert await directory.wait_until(lambda d: "fake-silent" in d.engines, 5)
    assert executor._beat is not None
    executor._beat.cancel()  # as kill -9 would
    clock.advance(5)
    assert await directory.wait_until(lambda d: "fake-silent" not in d.engines, 5)
    assert directory.catalog.resolve("steady", Endpoint.CHAT_COMPLETIONS).card.name == "steady"
    clock.advance(REMEMBER_SILENT_SECONDS + 1)
    assert await directory.wait_until(lambda d: len(d.catalog) == 0, 5)
    await directory.stop()
    await executor.stop(0)
