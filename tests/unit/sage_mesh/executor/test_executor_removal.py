"""An engine that is taken out stays in view until nothing of it can run any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fixtures.engines import FakeEngine
from fixtures.mesh import Mesh, open_mesh
from fixtures.nats import NatsProcess
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError

from sage_common.errors import UnavailableError
from sage_control_plane.request.engine_state import EnginePhase
from sage_mesh.engine import EngineRequest, ReplyWriter


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
async def mesh(nats_server: NatsProcess) -> AsyncIterator[Mesh]:
    async with open_mesh(nats_server) as mesh:
        yield mesh


def told_stopped(mesh: Mesh, engine_id: str = "fake-0") -> bool:
    state = mesh.directory.engines.get(engine_id)
    return state is not None and state.phase is EnginePhase.STOPPED


async def test_an_engine_that_takes_long_to_stop_is_seen_as_stopped_until_it_has(mesh: Mesh) -> None:
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
    mesh: Mesh, problem: Exception
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


async def test_an_engine_whose_removal_is_given_up_stays_in_view(mesh: Mesh) -> None:
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


async def test_one_engine_that_cannot_be_stopped_keeps_no_other_from_it(mesh: Mesh) -> None:
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


async def test_two_removals_at_once_stop_the_engine_once(mesh: Mesh) -> None:
    engine = Stubborn()
    executor = await mesh.host(engine)
    ordered = asyncio.create_task(executor.remove("fake-0", drain=False, timeout_seconds=0))
    assert await mesh.directory.wait_until(lambda _: told_stopped(mesh), 10)
    again = asyncio.create_task(executor.remove("fake-0", drain=True, timeout_seconds=60))
    stopping = asyncio.create_task(executor.stop(0))
    await mesh.ring.flush()
    assert not any(task.done() for task in (ordered, again, stopping))
    engine.may_end.set()
    assert await asyncio.wait_for(asyncio.gather(ordered, again, stopping), 10) == [0, 0, None]
    assert (engine.stops, executor.engines) == (1, {})


async def test_a_stop_does_not_wait_for_a_removal_that_drains(mesh: Mesh) -> None:
    async def never(_job: EngineRequest, _reply: ReplyWriter) -> None:
        await asyncio.Event().wait()

    engine = Stubborn()
    engine.behaviour = never
    engine.may_end.set()
    await mesh.scheduler("s")
    executor = await mesh.host(engine)
    reply = mesh.submit("r", timeout_seconds=60)
    await asyncio.wait_for(engine.job_arrived.wait(), 10)
    ordered = asyncio.create_task(executor.remove("fake-0", drain=True, timeout_seconds=60))
    assert await mesh.directory.wait_until(lambda d: d.engines["fake-0"].phase is EnginePhase.DRAINING, 10)
    await asyncio.wait_for(executor.stop(0), 10)
    assert await asyncio.wait_for(ordered, 10) == 1
    assert engine.stops == 1
    reply.cancel()


async def test_a_removal_takes_out_only_the_engine_it_was_for(mesh: Mesh) -> None:
    old, new = Stubborn(), FakeEngine()
    executor = await mesh.host(old)
    removing = asyncio.create_task(executor.remove("fake-0", drain=False, timeout_seconds=0))
    assert await mesh.directory.wait_until(lambda _: told_stopped(mesh), 10)
    await executor.host(new)
    old.may_end.set()
    await asyncio.wait_for(removing, 10)
    assert executor.engines == {"fake-0": new}


async def test_an_engine_is_stopped_though_its_subscription_cannot_be_ended(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_subscription: Subscription) -> None:
        raise ConnectionClosedError

    engine = FakeEngine()
    executor = await mesh.host(engine)
    with monkeypatch.context() as patch:
        patch.setattr(Subscription, "unsubscribe", fail)
        assert await executor.remove("fake-0", drain=False, timeout_seconds=0) == 0
    assert (engine.stopped, executor.engines) == (True, {})
