"""An engine that is taken out stays in view until nothing of it can run any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fixtures.engines import FakeEngine
from fixtures.nats import NatsProcess
from fixtures.scheduler_mesh import SchedulerMesh, scheduler_mesh

from sage_common.errors import UnavailableError
from sage_control_plane.engines import EnginePhase


class Stubborn(FakeEngine):
    """An engine whose end waits for the test, and may fail."""

    def __init__(self, engine_id: str = "fake-0") -> None:
        super().__init__(engine_id)
        self.stops = 0
        self.may_end = asyncio.Event()
        self.problem: Exception | None = None

    async def stop(self) -> None:
        self.stops += 1
        await self.may_end.wait()
        if self.problem is not None:
            raise self.problem
        await super().stop()


@pytest.fixture
async def mesh(nats_server: NatsProcess) -> AsyncIterator[SchedulerMesh]:
    async with scheduler_mesh(nats_server) as mesh:
        yield mesh


def told_stopped(mesh: SchedulerMesh, engine_id: str = "fake-0") -> bool:
    state = mesh.directory.engines.get(engine_id)
    return state is not None and state.phase is EnginePhase.STOPPED


async def test_an_engine_that_takes_long_to_stop_is_seen_as_stopped_until_it_has(mesh: SchedulerMesh) -> None:
    engine = Stubborn()
    executor = await mesh.host(engine)
    removing = asyncio.create_task(executor.remove("fake-0", drain=False, timeout_seconds=0))
    assert await mesh.directory.wait_until(lambda _: told_stopped(mesh), 10)
    assert mesh.directory.engines["fake-0"].reason == "it is being stopped"
    assert list(executor.engines) == ["fake-0"]
    engine.may_end.set()
    assert await asyncio.wait_for(removing, 10) == 0
    assert executor.engines == {}
    assert await mesh.directory.wait_until(lambda d: "fake-0" not in d.engines, 10)


@pytest.mark.parametrize("problem", [RuntimeError("no such process"), UnavailableError("no such process")])
async def test_an_engine_that_cannot_be_stopped_stays_in_view_with_the_reason_and_can_be_removed_again(
    mesh: SchedulerMesh, problem: Exception
) -> None:
    engine = Stubborn()
    engine.problem = problem
    engine.may_end.set()
    executor = await mesh.host(engine)
    with pytest.raises(type(problem)):
        await executor.remove("fake-0", drain=True, timeout_seconds=1)
    assert await mesh.directory.wait_until(
        lambda d: "no such process" in d.engines["fake-0"].reason and told_stopped(mesh), 10
    )
    engine.problem = None
    await executor.remove("fake-0", drain=True, timeout_seconds=1)
    assert (engine.stops, engine.stopped, executor.engines) == (2, True, {})


async def test_an_engine_whose_removal_is_given_up_stays_in_view(mesh: SchedulerMesh) -> None:
    engine = Stubborn()
    executor = await mesh.host(engine)
    removing = asyncio.create_task(executor.remove("fake-0", drain=False, timeout_seconds=0))
    assert await mesh.directory.wait_until(lambda _: told_stopped(mesh), 10)
    removing.cancel()
    await asyncio.wait({removing})
    assert told_stopped(mesh)
    engine.may_end.set()
    await executor.remove("fake-0", drain=False, timeout_seconds=0)
    assert executor.engines == {}


async def test_one_engine_that_cannot_be_stopped_keeps_no_other_from_it(mesh: SchedulerMesh) -> None:
    bad, good = Stubborn("bad"), Stubborn("good")
    bad.problem = RuntimeError("no such process")
    bad.may_end.set()
    executor = await mesh.host(bad, good)
    stopping = asyncio.create_task(executor.stop(0))
    assert await mesh.directory.wait_until(
        lambda d: told_stopped(mesh, "good") and "no such process" in d.engines["bad"].reason, 10
    )
    good.may_end.set()
    await asyncio.wait_for(stopping, 10)
    assert good.stopped
    assert await mesh.directory.wait_until(lambda d: not d.engines, 10)
