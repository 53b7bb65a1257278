"""The workers of the mesh as places for tasks: each tells what it has, and reads what the others told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field

import orjson
import psutil
from nats.errors import Error as NatsError
from nats.js.kv import KeyValue

from sage_common.clock import Clock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_dataflow_worker.job_task import JobTask
from sage_kernel.placement.node_selection import WorkerNode
from sage_kernel.placement.resources import Resources
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.followed_bucket import FollowedBucket
from sage_platform.kv import record_fields
from sage_platform.subjects import token

log = get_logger(__name__)

HEARTBEAT_SECONDS = 3.0
TTL_SECONDS = 10.0
_GPU_QUERY_SECONDS = 5.0


@dataclass(frozen=True)
class NodeRecord:
    """What a worker tells about the machine it is on.

    Attributes:
        cpus: processors that it may use.
        load: share of them that is busy.
        memory_mb: memory of the machine, or of the container; ``memory_free_mb`` of it is free.
        slots: tasks that it runs at most.
    """

    worker_id: str
    cpus: float
    load: float
    memory_mb: float
    memory_free_mb: float
    gpus: int
    slots: int
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: bytes) -> NodeRecord:
        """Read a record; fields of a newer version are ignored. Raises ValueError."""
        try:
            return cls(**record_fields(cls, data))
        except TypeError as error:
            raise ValueError(str(error)) from None


class NodeDirectory:
    """Keeps this worker's record fresh, and knows the others.

    Args:
        bucket: the bucket ``nodes``, with a TTL of ``TTL_SECONDS``.
        found_labels: returns those that are found out with each heartbeat; they win.
    """

    def __init__(
        self,
        bucket: KeyValue,
        worker_id: str,
        slots: int,
        labels: Mapping[str, str],
        clock: Clock,
        found_labels: Callable[[], Awaitable[Mapping[str, str]]] | None = None,
    ) -> None:
        self._nodes = FollowedBucket(bucket, subjects.BUCKET_NODES, NodeRecord.from_json, clock)
        self._worker_id = worker_id
        self._slots = slots
        self._labels = dict(labels)
        self._found_labels = found_labels
        self._clock = clock
        self._gpus = 0
        self._beating: asyncio.Task[None] | None = None
        self.reconnected = self._nodes.reconnected

    async def start(self) -> None:
        """Tell what this worker has, and follow the others."""
        self._gpus = await _count_gpus()
        await self._nodes.start()
        with contextlib.suppress(NatsError, asyncio.TimeoutError):
            await self._tell()
        self._beating = keep_running(self._beat, name="node-heartbeat")

    async def withdraw(self) -> None:
        """Take this worker's record away, so that it gets no more tasks."""
        if self._beating is not None:
            await end_tasks(self._beating)
            self._beating = None
        with contextlib.suppress(NatsError, asyncio.TimeoutError):
            await self._nodes.remove(token(self._worker_id))

    async def stop(self) -> None:
        """Follow the others no more."""
        if self._beating is not None:
            await end_tasks(self._beating)
        await self._nodes.stop()

    def on_change(self, call: Callable[[str], None]) -> Callable[[], None]:
        """Call ``call`` when a worker tells something; return what ends that."""
        return self._nodes.on_change(call)

    def total_slots(self) -> int:
        """Return how many tasks all workers together run at most; at least one."""
        return max(1, sum(record.slots for record in self._alive()))

    def workers(self, tasks: Iterable[JobTask]) -> list[WorkerNode]:
        """Return the workers that are alive, with what ``tasks`` take of each."""
        placed: dict[str, list[JobTask]] = {}
        for task in tasks:
            if task.state.takes_room:
                placed.setdefault(task.worker_id, []).append(task)
        workers = []
        for record in self._alive():
            mine = placed.get(record.worker_id, [])
            reserved = Resources()
            for task in mine:
                reserved = reserved.plus(task.needs.resources)
            capacity = Resources(record.cpus, record.gpus, record.memory_mb)
            workers.append(
                WorkerNode(record.worker_id, capacity, record.slots, reserved, len(mine), record.load, record.labels)
            )
        return sorted(workers, key=lambda worker: worker.worker_id)

    def _alive(self) -> list[NodeRecord]:
        # Expiry is not reported by the server. By this process's clock: those of two machines may differ.
        oldest = self._clock.now() - TTL_SECONDS
        return [stored.value for stored in self._nodes.latest.values() if stored.read_at >= oldest]

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                await self._tell()
            except (NatsError, asyncio.TimeoutError) as error:
                log.warning("node record not refreshed; trying again", error=str(error) or repr(error))

    async def _tell(self) -> None:
        cpus = float(len(os.sched_getaffinity(0)))
        memory = psutil.virtual_memory()
        found = await self._found_labels() if self._found_labels is not None else {}
        record = NodeRecord(
            self._worker_id,
            cpus,
            round(os.getloadavg()[0] / (os.cpu_count() or 1), 3),
            memory.total // 2**20,
            memory.available // 2**20,
            self._gpus,
            self._slots,
            {**self._labels, **found},
        )
        await self._nodes.put(token(self._worker_id), orjson.dumps(asdict(record)))


async def _count_gpus() -> int:
    """Return how many GPUs ``nvidia-smi`` lists; none where there is no such program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    process = await asyncio.create_subprocess_exec(
        program, "--list-gpus", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        listed, _ = await asyncio.wait_for(process.communicate(), _GPU_QUERY_SECONDS)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        return 0
    return sum(line.startswith(b"GPU ") for line in listed.splitlines())
