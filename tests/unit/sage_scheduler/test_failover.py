"""Pools move between replicas: killed, stopped, shared out. Nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import replace
from pathlib import Path

from fixtures.engines import FakeEngine, answer
from fixtures.mesh import CHAT, Mesh, until

from sage_control_plane.request.engine_state import ModelCard
from sage_control_plane.request.request import RequestKind
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.reply import Media, Reply


class SlowAnswer:
    """Answers after a moment."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __call__(self, job: EngineRequest, reply: ReplyWriter) -> None:
        await asyncio.sleep(self._seconds)
        await answer(job, reply)


class Stream:
    """Streams a piece every 20 ms until the test ends it."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.EVENT_STREAM)
        number = 0
        while not self.ended.is_set():
            reply.data(b"data: %d\n\n" % number)
            number += 1
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.ended.wait(), 0.02)


async def test_a_killed_leader_is_replaced_within_two_seconds_and_nothing_is_lost(mesh: Mesh, tmp_path: Path) -> None:
    engine = FakeEngine("fake-0", SlowAnswer(0.02), max_concurrency=4)
    stream = Stream()
    streaming = FakeEngine("streaming-0", stream, model="streamer")
    await mesh.host(engine, streaming)
    process = mesh.process("scheduler", "doomed", tmp_path / "doomed.log")
    assert await mesh.submit("warm", timeout_seconds=20).read() == CHAT
    standby = await mesh.scheduler("standby")

    under_way = mesh.submit("stream", CHAT.replace(b'"fake"', b'"streamer"'))
    pieces = aiter(under_way)
    await anext(pieces)
    replies = [mesh.submit(f"before{n}") for n in range(100)]
    await until(lambda: len(engine.jobs) > 10)

    process.send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    while "main" not in standby.leases.runners:
        replies.append(mesh.submit(f"during{len(replies)}"))
        await asyncio.sleep(0.05)
    led_after = time.monotonic() - killed_at
    assert led_after <= 2.0
    assert [await reply.read() for reply in replies] == [CHAT] * len(replies)

    stream.ended.set()
    received = b"".join([piece async for piece in pieces])
    numbers = [int(event.removeprefix(b"data: ")) for event in received.split(b"\n\n") if event]
    assert numbers == list(range(1, len(numbers) + 1))  # the running stream never noticed
    manager = standby.leases.runners["main"].manager
    await until(lambda: manager.outstanding == 0)


async def test_a_stopped_leader_hands_its_queue_over_at_once(mesh: Mesh) -> None:
    engine = FakeEngine("fake-0", SlowAnswer(0.05), max_concurrency=2)
    await mesh.host(engine)
    leader = await mesh.scheduler("leader")
    await until(lambda: "main" in leader.leases.runners)
    await mesh.submit("warm").read()
    standby = await mesh.scheduler("standby")
    replies = [mesh.submit(f"r{n}") for n in range(40)]
    await until(lambda: leader.leases.runners["main"].manager.queued > 30)

    stopped_at = time.monotonic()
    stopping = asyncio.create_task(mesh.stop_scheduler("leader"))
    await until(lambda: "main" in standby.leases.runners)
    assert time.monotonic() - stopped_at < 1.0
    replies += [mesh.submit(f"late{n}") for n in range(5)]
    assert [await reply.read() for reply in replies] == [CHAT] * 45
    # Faster than any edge would have asked after its requests.
    assert time.monotonic() - stopped_at < 3.0
    assert len(engine.jobs) == 46
    await stopping


async def test_replicas_share_the_pools_out(mesh: Mesh) -> None:
    first = await mesh.scheduler("first")
    await mesh.host(*(PooledEngine(f"e{n}", f"pool-{n}") for n in range(3)))
    await until(lambda: len(first.leases.runners) == 4)
    second = await mesh.scheduler("second")
    await until(lambda: len(first.leases.runners) == len(second.leases.runners) == 2, 8)
    await mesh.stop_scheduler("second")
    await until(lambda: len(first.leases.runners) == 4)


async def test_every_pool_of_a_killed_replica_moves_within_two_seconds_and_no_request_is_lost(
    mesh: Mesh, tmp_path: Path
) -> None:
    engines = {f"pool-{n}": PooledEngine(f"e{n}", f"pool-{n}") for n in range(4)}
    first_job_at: dict[str, float] = {}
    for pool, engine in engines.items():
        engine.behaviour = NotesItsFirstJob(pool, first_job_at)
    await mesh.host(*engines.values())
    doomed = mesh.process("scheduler", "doomed", tmp_path / "doomed.log")
    replies = [mesh.submit(f"warm-{pool}", body_for(pool), timeout_seconds=20) for pool in engines]
    await asyncio.gather(*(reply.read() for reply in replies))
    survivor = await mesh.scheduler("survivor")
    # Five pools, with the default one, shared by two replicas.
    await until(lambda: len(survivor.leases.runners) >= 2, 10)
    moving = set(engines) - set(survivor.leases.runners)
    assert moving

    doomed.send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    first_job_at.clear()
    asked: dict[str, tuple[str, Reply]] = {}
    while not moving <= set(first_job_at):
        for pool in engines:
            request_id = f"{pool}-{len(asked)}"
            asked[request_id] = (pool, mesh.submit(request_id, body_for(pool), timeout_seconds=20))
        await asyncio.sleep(0.05)
        assert time.monotonic() - killed_at < 10, f"{moving - set(first_job_at)} have not moved"
    took = {pool: first_job_at[pool] - killed_at for pool in moving}
    assert max(took.values()) <= 2.0, took
    for pool, reply in asked.values():
        assert await reply.read() == body_for(pool)
    assert set(engines) <= set(survivor.leases.runners)


def body_for(pool: str) -> bytes:
    return CHAT.replace(b'"fake"', f'"model-of-{pool}"'.encode())


class NotesItsFirstJob:
    """Answers at once, and notes when it was first asked to since the notes were cleared."""

    def __init__(self, pool: str, first_at: dict[str, float]) -> None:
        self._pool = pool
        self._first_at = first_at

    async def __call__(self, job: EngineRequest, reply: ReplyWriter) -> None:
        self._first_at.setdefault(self._pool, time.monotonic())
        await answer(job, reply)


class PooledEngine(FakeEngine):
    """A fake engine in a pool of its own."""

    def __init__(self, engine_id: str, pool: str) -> None:
        super().__init__(engine_id)
        card = ModelCard(f"model-of-{pool}", frozenset({RequestKind.LLM_CHAT}))
        self._spec = replace(self._spec, pool=pool, models=(card,))
