from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from fixtures.nats import NatsProcess, start_nats
from fixtures.shared_readers import ReaderProcesses, SharedReader
from nats.js.errors import NotFoundError as NoMessageError
from prometheus_client import CollectorRegistry, Counter

from sage_common.errors import NotFoundError, UnavailableError
from sage_common.service_settings import NatsSettings
from sage_dataflow_worker.assembly import Assembly, assemble
from sage_dataflow_worker.config import DataflowWorkerSettings
from sage_dataflow_worker.job_api import JobApi
from sage_dataflow_worker.job_store import JobStore
from sage_kernel.model_port import ChatText, Embeddings
from sage_platform import subjects
from sage_platform.nats_connection import connect
from sage_platform.ring import Ring


class GatedModels:
    """Answers a chat when its gate opens; ``asked`` is set by the first one."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()
        self.chats = 0
        self.cancelled = 0
        self.tenants: list[str] = []
        self._most_answers: int | None = None
        self._answered_all: asyncio.Event | None = None

    def stops_after(self, answers: int, stopped: asyncio.Event) -> None:
        """Answer no more than that; ``stopped`` is set when one more is asked for."""
        self._most_answers, self._answered_all = answers, stopped

    async def embed(self, texts: Sequence[str], model: str | None = None, **options: Any) -> Embeddings:
        return Embeddings(np.ones((len(texts), 2), dtype=np.float32), "ones")

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        **options: Any,
    ) -> ChatText:
        self.chats += 1
        self.asked.set()
        try:
            await self.gate.wait()
            if self._most_answers is not None and self.chats > self._most_answers:
                assert self._answered_all is not None
                self._answered_all.set()
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return ChatText(messages[-1]["content"].upper(), "loud")


@dataclass
class WorkerUnderTest:
    assembly: Assembly
    models: GatedModels
    ring: Ring
    stopped: bool = False

    @property
    def api(self) -> JobApi:
        return self.assembly.api

    @property
    def store(self) -> JobStore:
        return self.assembly.jobs

    @property
    def ended(self) -> Counter:
        return self.assembly.worker._ended

    async def until(self, job_id: str, *states: str) -> Any:
        """Wait until a job is in one of ``states`` and return it."""

        async def watch() -> Any:
            while True:
                try:
                    await self.api.get(job_id)
                    break
                except (NotFoundError, UnavailableError):
                    await asyncio.sleep(0.01)
            async for job in self.api.watch(job_id):
                if job.state.name in states:
                    return job
            raise AssertionError(f"{job_id} ended as {job}")

        return await asyncio.wait_for(watch(), 25)

    async def publish(self, body: str | bytes, headers: dict[str, str] | None = None) -> int:
        data = body.encode() if isinstance(body, str) else body
        ack = await self.ring.connection.jetstream().publish(subjects.JOBS_SUBMIT, data, headers=headers)
        return int(ack.seq)

    async def results(self, job_id: str) -> list[dict[str, Any]]:
        return await messages(self.ring, subjects.RESULTS_STREAM, subjects.results(job_id))

    async def dead_letters(self, job_id: str, node: str) -> list[dict[str, Any]]:
        return await messages(self.ring, subjects.DLQ_STREAM, subjects.dead_letters(job_id, node))

    async def stop(self) -> None:
        if self.stopped:
            return
        self.stopped = True
        await asyncio.wait_for(self.assembly.stop(), 15)
        await self.ring.close()
        await self.ring.connection.close()

    async def die(self) -> None:
        """Vanish like a killed process: say nothing more to anyone."""
        self.stopped = True
        await self.ring.close()
        await self.ring.connection.close()
        worker = self.assembly.worker
        for task in [worker._puller, *worker._deliveries, *self.assembly.tasks._tasks, self.assembly.nodes._beating]:
            if task is not None:
                task.cancel()
        await self.assembly.stop_following()


async def messages(ring: Ring, stream: str, subject: str) -> list[dict[str, Any]]:
    """Return every message on ``subject``."""
    js = ring.connection.jetstream()
    found = []
    sequence = 0
    while True:
        try:
            message = await js.get_msg(stream, seq=sequence + 1, subject=subject, next=True)
        except NoMessageError:
            return found
        found.append(orjson.loads(message.data or b""))
        sequence = int(message.seq or 0)


@dataclass
class Workplace:
    """A NATS server of its own and the workers on it."""

    url: str
    checkpoint_dir: Path
    readers: ReaderProcesses
    exits: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def worker(self, name: str, models: GatedModels | None = None, **options: Any) -> WorkerUnderTest:
        settings = DataflowWorkerSettings(
            **{
                "ack_wait_seconds": 1.0,
                "progress_interval_seconds": 0.1,
                "drain_timeout_seconds": 0.0,
                "checkpoint_dir": self.checkpoint_dir,
                "keep_vectors": False,
                **options,
            }
        )
        models = models or GatedModels()
        assemblies: list[Assembly] = []

        async def reconnected() -> None:
            for assembly in assemblies:
                assembly.reconnected()

        connection = await connect(NatsSettings(url=self.url), name=name, on_reconnect=reconnected)
        ring = Ring(connection)
        await ring.start()
        js = connection.jetstream(timeout=2)

        def models_for(tenant: str) -> GatedModels:
            models.tenants.append(tenant)
            return models

        assembly = await assemble(ring, js, settings, name, models_for, registry=CollectorRegistry())
        await assembly.streams.ensure()
        assembly.admission._readers = [SharedReader(one._given, self.readers) for one in assembly.admission._readers]
        assemblies.append(assembly)
        await assembly.start()
        made = WorkerUnderTest(assembly, models, ring)
        self.exits.push_async_callback(made.stop)
        return made


@pytest.fixture(scope="session")
def readers() -> Iterator[ReaderProcesses]:
    processes = ReaderProcesses()
    yield processes
    processes.end()


@pytest.fixture
def own_nats(tmp_path: Path) -> Any:
    process: NatsProcess = start_nats(tmp_path)
    yield process
    process.stop()


@pytest.fixture
async def workplace(own_nats: NatsProcess, readers: ReaderProcesses, tmp_path: Path) -> AsyncIterator[Workplace]:
    place = Workplace(own_nats.url, tmp_path / "checkpoints", readers)
    async with place.exits:
        yield place
