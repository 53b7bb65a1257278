"""A request whose engine stalls is answered by another, over a real nats-server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from fixtures.engines import FakeEngine, answer
from fixtures.mesh import CHAT, Mesh, until

from sage_common.errors import InternalError
from sage_control_plane.manager import ControlPlaneManager
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.reply import Media, Reply
from sage_scheduler.main import Scheduler

STREAM = CHAT[:-1] + b',"stream":true}'
SETTINGS = {"hedge_ratio": 1.0, "hedge_least_seconds": 0.1}


@dataclass
class Switched:
    """An engine's behaviour: quick until the test switches it; then the request's turn waits for the test."""

    quick: bool = True
    begin: asyncio.Event = field(default_factory=asyncio.Event)
    finish: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    async def __call__(self, job: EngineRequest, reply: ReplyWriter) -> None:
        if self.quick:
            # Long enough that what is predicted of it is not noise.
            await asyncio.sleep(0.01)
            await answer(job, reply)
            return
        await self.begin.wait()
        if self.error is not None:
            raise self.error
        reply.head(Media.EVENT_STREAM)
        reply.data(b"data: one\n\n")
        await self.finish.wait()
        reply.data(b"data: two\n\n")


@dataclass
class HedgedPair:
    """Two engines that are known to be quick, one of which holds a request now, by the mesh's id of it."""

    mesh: Mesh
    scheduler: Scheduler
    engines: dict[str, FakeEngine]
    slow: Switched = field(default_factory=Switched)
    other: Switched = field(default_factory=Switched)
    stalled: str = ""
    request_id: str = ""

    @property
    def manager(self) -> ControlPlaneManager:
        return self.scheduler.leases.runners["main"].manager

    @property
    def rescuer(self) -> str:
        return next(name for name in self.engines if name != self.stalled)

    async def submit(self, body: bytes = STREAM) -> Reply:
        """Submit a request; the engine that gets it stalls, and the other does as ``other`` says."""
        for engine in self.engines.values():
            engine.behaviour = self.slow
        self.slow.quick = False
        reply = self.mesh.submit("r", body)
        self.request_id = reply.request_id
        await until(lambda: any(self._has_it(engine) for engine in self.engines.values()))
        self.stalled = next(name for name, engine in self.engines.items() if self._has_it(engine))
        self.engines[self.rescuer].behaviour = self.other
        return reply

    async def hedged(self) -> None:
        await until(lambda: self._has_it(self.engines[self.rescuer]))

    async def settled(self) -> None:
        await until(lambda: self.manager.outstanding == 0 and not self.manager.holds(self.request_id))
        assert self.mesh.edge.in_flight == 0

    def _has_it(self, engine: FakeEngine) -> bool:
        return any(job.request_id == self.request_id for job in engine.jobs)


@pytest.fixture
async def pair(mesh: Mesh) -> HedgedPair:
    scheduler = await mesh.scheduler("s1", **SETTINGS)
    made = HedgedPair(mesh, scheduler, {name: FakeEngine(name) for name in ("a", "b")})
    for engine in made.engines.values():
        engine.behaviour = made.slow
        await mesh.host(engine)
    for number in range(50):
        await mesh.submit(f"taught-{number}", STREAM).read()
    return made


async def test_the_other_engine_answers_and_the_one_that_stalls_is_stopped(pair: HedgedPair) -> None:
    reply = await pair.submit()
    head = await asyncio.wait_for(reply.head(), 3)
    assert (head.engine_id, head.tries) == (pair.rescuer, 2)
    assert await reply.read() == STREAM
    await until(lambda: pair.engines[pair.stalled].cancelled == [pair.request_id])
    assert pair.engines[pair.rescuer].cancelled == []
    await pair.settled()
    record = pair.manager.decision_log.get(pair.request_id)
    assert record is not None
    assert [(d.decision.hedge, d.error_code) for d in record.dispatches] == [(False, "hedge_lost"), (True, None)]
    assert record.outcome == "finished"


async def test_an_engine_that_begins_late_but_first_goes_on_and_the_hedge_is_stopped(pair: HedgedPair) -> None:
    pair.other.quick = False
    reply = await pair.submit()
    await pair.hedged()
    pair.slow.begin.set()
    head = await reply.head()
    assert (head.engine_id, head.tries) == (pair.stalled, 2)
    await until(lambda: pair.engines[pair.rescuer].cancelled == [pair.request_id])
    pair.slow.finish.set()
    assert await reply.read() == b"data: one\n\ndata: two\n\n"
    assert pair.engines[pair.stalled].cancelled == []
    await pair.settled()


async def test_when_both_begin_in_the_same_moment_one_goes_on_and_the_other_is_stopped(pair: HedgedPair) -> None:
    pair.other = pair.slow
    reply = await pair.submit()
    await pair.hedged()
    pair.slow.begin.set()
    head = await reply.head()
    losing = next(name for name in pair.engines if name != head.engine_id)
    await until(lambda: pair.engines[losing].cancelled == [pair.request_id])
    pair.slow.finish.set()
    assert await reply.read() == b"data: one\n\ndata: two\n\n"
    assert pair.engines[head.engine_id].cancelled == []
    await pair.settled()
    record = pair.manager.decision_log.get(pair.request_id)
    assert record is not None
    assert (record.engine_id, record.outcome) == (head.engine_id, "finished")


async def test_an_error_that_no_other_engine_could_mend_does_not_fail_a_request_that_another_runs(
    pair: HedgedPair,
) -> None:
    pair.other.quick = False
    pair.slow.error = InternalError("a bug")
    reply = await pair.submit()
    await pair.hedged()
    pair.slow.begin.set()
    await until(lambda: pair.manager.outstanding == 1)
    pair.other.begin.set()
    pair.other.finish.set()
    assert await reply.read() == b"data: one\n\ndata: two\n\n"
    await pair.settled()


async def test_when_both_fail_for_good_the_client_gets_the_error(pair: HedgedPair) -> None:
    pair.other.quick = False
    pair.slow.error = pair.other.error = InternalError("a bug")
    reply = await pair.submit()
    await pair.hedged()
    pair.slow.begin.set()
    await until(lambda: pair.manager.outstanding == 1)
    pair.other.begin.set()
    with pytest.raises(InternalError, match="a bug"):
        await reply.read()
    await pair.settled()


async def test_a_client_that_goes_away_stops_both(pair: HedgedPair) -> None:
    pair.other.quick = False
    reply = await pair.submit()
    await pair.hedged()
    reply.cancel()
    await until(lambda: all(engine.cancelled == [pair.request_id] for engine in pair.engines.values()))
    await pair.settled()


async def test_a_new_leader_lets_both_race_on(pair: HedgedPair) -> None:
    pair.other.quick = False
    reply = await pair.submit()
    await pair.hedged()
    # In good order, so that the next leader is there at once; it knows of both from heartbeats alone.
    heir = await pair.mesh.scheduler("s2", **SETTINGS)
    await pair.mesh.stop_scheduler("s1")
    await until(lambda: "main" in heir.leases.runners and heir.leases.runners["main"].manager.outstanding == 2)
    pair.other.begin.set()
    pair.other.finish.set()
    assert await reply.read() == b"data: one\n\ndata: two\n\n"
    await until(lambda: pair.engines[pair.stalled].cancelled == [pair.request_id])
    pair.scheduler = heir
    await pair.settled()


async def test_a_winner_that_fails_in_mid_stream_is_recovered_although_the_loser_is_gone(pair: HedgedPair) -> None:
    pair.other.quick = False
    reply = await pair.submit()
    await pair.hedged()
    pair.other.begin.set()
    await reply.head()
    await until(lambda: pair.engines[pair.stalled].cancelled == [pair.request_id])
    # Nothing was read, so that the edge starts over, and elsewhere.
    pair.slow.quick = True
    rescuer = pair.mesh.executors[list(pair.engines).index(pair.rescuer)]
    await rescuer.remove(pair.rescuer, drain=False, timeout_seconds=0)
    assert await reply.read() == STREAM
    await pair.settled()
