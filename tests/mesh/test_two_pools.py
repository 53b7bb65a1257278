"""A model that two pools serve, each led by a scheduler of its own."""

from __future__ import annotations

import asyncio

from fixtures.engines import FakeEngine
from fixtures.eventually import eventually
from fixtures.mesh import Mesh, open_mesh
from fixtures.nats import NatsProcess

from sage.inference.v1 import request_pb2
from sage_control_plane.request.engine_state import EnginePhase
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.reply import Media
from sage_scheduler.main import Scheduler

POOLS = ("left", "right")


async def ask(mesh: Mesh, requests: int, name: str) -> None:
    """Send so many requests at once and read their answers; raises where one fails."""
    replies = [mesh.submit(f"{name}-{number}") for number in range(requests)]
    for reply in replies:
        assert await asyncio.wait_for(reply.read(), 10)


async def led_by_each(mesh: Mesh, *names: str) -> list[Scheduler]:
    """Start schedulers; return when they lead all pools, and none of them more than one of ``POOLS`` beyond another."""
    schedulers = [await mesh.scheduler(name) for name in names]

    def shared_out() -> bool:
        led = [set(scheduler.leases.runners) for scheduler in schedulers]
        return set(POOLS) <= set().union(*led) and max(map(len, led)) - min(map(len, led)) <= 1

    await eventually(shared_out, seconds=15)
    return schedulers


async def test_requests_are_shared_out_and_go_on_in_the_pool_that_is_left(nats_server: NatsProcess) -> None:
    async with open_mesh(nats_server, "pools") as mesh:
        left, right = engines = [FakeEngine(f"of-{pool}", pool=pool, max_concurrency=4) for pool in POOLS]
        for engine in engines:
            await mesh.host(engine)
        await led_by_each(mesh, "one", "two")
        await ask(mesh, 40, "both")
        # While the lead of a pool changes hands, a request may be dispatched twice; its edge reads one of the two.
        given = [{job.request_id for job in engine.jobs} for engine in engines]
        assert len(set().union(*given)) == 40
        assert min(map(len, given)) >= 15
        left.phase = EnginePhase.UNHEALTHY
        assert await mesh.directory.wait_until(lambda d: d.engines["of-left"].phase is EnginePhase.UNHEALTHY, 5)
        # What is known of the pools may be a moment old; while both are ready, requests go to them in turn.
        await eventually(lambda: {_choice_of(mesh) for _ in range(4)} == {"right"}, seconds=5)
        before = len(left.jobs)
        await ask(mesh, 20, "one")
        assert len(left.jobs) == before
        assert len(right.jobs) >= 20


async def test_a_pool_whose_seats_are_taken_is_passed_by(nats_server: NatsProcess) -> None:
    release = asyncio.Event()

    async def hold(job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.JSON)
        await release.wait()
        reply.data(job.body)

    async with open_mesh(nats_server, "full") as mesh:
        full = FakeEngine("of-left", hold, pool="left", max_concurrency=2)
        free = FakeEngine("of-right", pool="right", max_concurrency=64)
        await mesh.host(full, free)
        await led_by_each(mesh, "three")
        held = []
        while len(full.jobs) < 2:
            held.append(mesh.submit(f"held-{len(held)}"))
            await asyncio.sleep(0)
            await eventually(lambda: len(full.jobs) + len(free.jobs) == len(held), seconds=5)
        await eventually(lambda: len(mesh.directory.engines["of-left"].running) == 2, seconds=5)
        await ask(mesh, 30, "free")
        assert len(full.jobs) == 2
        release.set()
        for reply in held:
            assert await asyncio.wait_for(reply.read(), 10)


def _choice_of(mesh: Mesh) -> str:
    """Return the pool that a further request would go to."""
    kind = request_pb2.REQUEST_KIND_LLM_CHAT
    classification = request_pb2.Classification(model="fake", kind=kind)
    mesh.edge._choice.assign(classification)
    return classification.pool
