"""Two gateways and one batch: whoever goes on does only what is left."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from fixtures.batch_client import batch_when, chat_line, client_of, ended_batch, lines_of, started_batch
from fixtures.engines import FakeOpenAiEngine
from fixtures.mesh import gateway_mesh, open_mesh
from fixtures.nats import NatsProcess, start_nats

CONTENT = b"".join(chat_line(f"r{number}", f"say {number}") for number in range(30))


class HeldEngine:
    """Answers the first requests, and the others once it may."""

    def __init__(self, engine: Any, first: int) -> None:
        self.go_on = asyncio.Event()
        self.asked: Counter[bytes] = Counter()
        self._first = first
        self._answer = engine.behaviour
        engine.behaviour = self

    async def __call__(self, job: Any, reply: Any) -> None:
        self.asked[job.body] += 1
        if self.asked.total() > self._first:
            await self.go_on.wait()
        await self._answer(job, reply)


async def test_a_gateway_that_stops_leaves_its_batch_to_another(nats_server: NatsProcess) -> None:
    async with gateway_mesh(nats_server, batch_requests_in_flight=4) as mesh:
        engine = HeldEngine(mesh.engine, first=10)
        worker = mesh.run_batches("first")
        async with client_of(mesh.url, mesh.name) as client:
            batch = await started_batch(client, CONTENT)
            await batch_when(client, batch.id, lambda batch: batch.request_counts.completed == 10)
            await worker.stop()
            engine.go_on.set()
            mesh.run_batches("second")
            batch = await ended_batch(client, batch.id)
            assert batch.request_counts.completed == 30
            assert len(await lines_of(client, batch.output_file_id)) == 30
        # Those that were in the mesh when the first stopped, and no others, were asked twice.
        assert 0 < sum(count - 1 for count in engine.asked.values()) <= 4


async def test_two_gateways_share_batches_and_run_none_twice(nats_server: NatsProcess) -> None:
    async with gateway_mesh(nats_server, batches_at_once=1) as mesh:
        mesh.run_batches("first")
        mesh.run_batches("second")
        async with client_of(mesh.url, mesh.name) as client:
            made = [await started_batch(client, CONTENT) for _ in range(4)]
            for batch in made:
                assert (await ended_batch(client, batch.id)).request_counts.completed == 30
        assert len(mesh.engine.jobs) == 120


async def test_a_batch_goes_on_after_nats_was_killed_and_started_again(tmp_path: Any) -> None:
    nats = start_nats(tmp_path)
    try:
        async with open_mesh(nats, "restarted") as mesh:
            await mesh.host(FakeOpenAiEngine("fake-restarted"))
            await mesh.scheduler("scheduler-restarted")
            await mesh.gateway(batch_requests_in_flight=4)
            engine = HeldEngine(mesh.engine, first=10)
            mesh.run_batches()
            async with client_of(mesh.url, mesh.name) as client:
                batch = await started_batch(client, CONTENT)
                await batch_when(client, batch.id, lambda batch: batch.request_counts.completed == 10)
                nats.kill()
                nats.start_again()
                engine.go_on.set()
                batch = await ended_batch(client, batch.id)
                assert batch.request_counts.completed == 30
                assert len(await lines_of(client, batch.output_file_id)) == 30
    finally:
        nats.stop()
