"""Makes the parts of a worker and connects them: for the service, and for tests of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nats.js.client import JetStreamContext
from prometheus_client import REGISTRY, CollectorRegistry

from sage_common import paths
from sage_common.clock import MonotonicClock
from sage_dataflow_worker.config import DataflowWorkerSettings
from sage_dataflow_worker.coordination import CoordinationTools
from sage_dataflow_worker.dead_letters import DeadLetters
from sage_dataflow_worker.job import Job
from sage_dataflow_worker.job_api import JobApi
from sage_dataflow_worker.job_control import JobControl
from sage_dataflow_worker.job_event_publisher import JobEventPublisher
from sage_dataflow_worker.job_history import JobHistory
from sage_dataflow_worker.job_records import JobRecords
from sage_dataflow_worker.job_run import RunTools
from sage_dataflow_worker.job_store import JobStore
from sage_dataflow_worker.job_streams import JobStreams
from sage_dataflow_worker.kept_answers import KeptAnswers
from sage_dataflow_worker.knowledge_api import KnowledgeApi
from sage_dataflow_worker.knowledge_home import KnowledgeHome
from sage_dataflow_worker.metrics import WorkerMetrics
from sage_dataflow_worker.node_directory import TTL_SECONDS, NodeDirectory
from sage_dataflow_worker.pipeline_admission import PipelineAdmission
from sage_dataflow_worker.pipeline_texts import PipelineTexts
from sage_dataflow_worker.results import JobEnd
from sage_dataflow_worker.resumptions import Resumptions
from sage_dataflow_worker.source_splits import SourceParts, source_parts
from sage_dataflow_worker.task_checkpoints import remove_checkpoints, remove_older_than
from sage_dataflow_worker.task_store import TaskStore
from sage_dataflow_worker.task_tools import LEASE_TTL_SECONDS, TaskTools
from sage_dataflow_worker.task_worker import TaskWorker
from sage_dataflow_worker.worker import JobWorker
from sage_kernel.file_access import FileAccess
from sage_kernel.functions import FunctionRegistry
from sage_kernel.host_access import HostAccess
from sage_kernel.model_port import ModelPort
from sage_kernel.nats_access import GivenNats
from sage_kernel.runtime.memory_guard import guard_of_process
from sage_kernel.spec import PipelineSpec
from sage_platform import subjects
from sage_platform.kv import open_bucket
from sage_platform.ring import Ring

# A request that was on its way when NATS went down is lost; it must not take long to find out.
JETSTREAM_TIMEOUT_SECONDS = 2.0
_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Assembly:
    """A worker's parts. ``start`` and ``stop`` go through them in order."""

    worker: JobWorker
    tasks: TaskWorker
    api: JobApi
    control: JobControl
    resumptions: Resumptions
    records: JobRecords
    history: JobHistory
    events: JobEventPublisher
    jobs: JobStore
    task_store: TaskStore
    nodes: NodeDirectory
    admission: PipelineAdmission
    streams: JobStreams
    knowledge: KnowledgeApi
    checkpoint_dir: Path
    retention_seconds: float

    async def start(self) -> None:
        """Begin to take jobs and tasks."""
        await asyncio.to_thread(remove_older_than, self.checkpoint_dir, self.retention_seconds)
        await self.admission.start()
        await self.events.start()
        await self.jobs.start()
        await self.task_store.start()
        await self.nodes.start()
        await self.worker.start()
        self.resumptions.start()

    async def stop(self) -> None:
        """Hand over what runs."""
        await self.nodes.withdraw()
        await self.worker.stop()
        await self.stop_following()
        await self.knowledge.close()

    async def stop_following(self) -> None:
        """End what reads from NATS, and the child that reads pipelines."""
        await self.resumptions.stop()
        await self.nodes.stop()
        await self.task_store.stop()
        await self.jobs.stop()
        await self.events.stop()
        await self.admission.stop()

    def reconnected(self) -> None:
        """Follow what is in NATS anew."""
        for follower in (self.jobs, self.task_store, self.nodes):
            follower.reconnected()


async def assemble(
    ring: Ring,
    js: JetStreamContext,
    settings: DataflowWorkerSettings,
    worker_id: str,
    models_for: Callable[[str], ModelPort],
    *,
    registry: CollectorRegistry = REGISTRY,
) -> Assembly:
    """Return a worker that has not been started.

    Args:
        models_for: returns how a tenant's pipelines reach models.
        registry: of the metrics.

    Raises:
        nats.errors.Error, asyncio.TimeoutError: a bucket could not be opened.
    """
    clock = MonotonicClock()
    metrics = WorkerMetrics(registry)
    files = FileAccess(settings.allowed_roots, setting="dataflow_worker.allowed_roots")
    hosts = HostAccess(settings.allowed_hosts, setting="dataflow_worker.allowed_hosts")
    functions = FunctionRegistry(settings.functions, setting="dataflow_worker.functions")
    retention = settings.job_retention_days * _DAY_SECONDS
    events = JobEventPublisher(
        js,
        metrics.events_dropped,
        now_ms,
    )
    jobs = JobStore(await open_bucket(js, subjects.BUCKET_JOBS, ttl_seconds=retention, history=8), events)
    tasks = TaskStore(await open_bucket(js, subjects.BUCKET_TASKS, ttl_seconds=retention), events)
    leases = await open_bucket(js, subjects.BUCKET_TASK_LEASES, ttl_seconds=LEASE_TTL_SECONDS)
    pipelines = await open_bucket(js, subjects.BUCKET_PIPELINES, ttl_seconds=retention)
    checkpoints = await open_bucket(js, subjects.BUCKET_CHECKPOINTS, ttl_seconds=retention)
    node_bucket = await open_bucket(js, subjects.BUCKET_NODES, ttl_seconds=TTL_SECONDS)
    answers = await open_bucket(js, subjects.BUCKET_ANSWERS, ttl_seconds=retention)
    home = KnowledgeHome(
        await open_bucket(js, subjects.BUCKET_KNOWLEDGE), settings.knowledge_dir or paths.data_dir() / "knowledge"
    )
    nodes = NodeDirectory(node_bucket, worker_id, settings.max_tasks, settings.labels, clock, home.labels)
    checkpoint_dir = settings.checkpoint_dir or paths.data_dir() / "checkpoints"
    admission = PipelineAdmission(files, functions, hosts)
    texts = PipelineTexts(pipelines, admission)
    dead_letters = DeadLetters(js)
    nats = GivenNats(ring.connection)
    task_tools = TaskTools(
        js=js,
        jobs=jobs,
        tasks=tasks,
        texts=texts,
        leases=leases,
        checkpoints=checkpoints,
        checkpoint_dir=checkpoint_dir,
        dead_letters=dead_letters,
        models_for=models_for,
        files=files,
        hosts=hosts,
        nats=nats,
        cache_dir=paths.cache_dir() if settings.keep_vectors else None,
        worker_id=worker_id,
        interval_seconds=settings.progress_interval_seconds,
        clock=clock,
        functions=functions,
        answers_for=partial(KeptAnswers, answers),
        knowledge=home,
        tracer=ring.tracer,
        memory=guard_of_process(settings.memory_limit_mb, "dataflow_worker.memory_limit_mb"),
    )
    task_worker = TaskWorker(
        task_tools,
        settings.max_tasks,
        metrics.tasks,
        metrics.tasks_running,
    )

    async def parts_of(spec: PipelineSpec, job: Job) -> SourceParts:
        return await source_parts(spec, models_for(job.tenant), files, hosts, functions, nats)

    coordination = CoordinationTools(
        jobs=jobs,
        tasks=tasks,
        nodes=nodes,
        leases=leases,
        parts_of=parts_of,
        strategy=settings.placement,
        max_attempts=settings.max_attempts,
        worker_id=worker_id,
        clock=clock,
    )
    run_tools = RunTools(
        store=jobs,
        coordination=coordination,
        dead_letters=dead_letters,
        job_end=JobEnd(js),
        ack_wait_seconds=settings.ack_wait_seconds,
        interval_seconds=settings.progress_interval_seconds,
        clock=clock,
        now_ms=now_ms,
        ended=lambda job_id: remove_checkpoints(checkpoint_dir, job_id),
    )
    streams = JobStreams(js, settings)
    worker = JobWorker(
        ring,
        streams,
        texts,
        task_worker,
        run_tools,
        settings,
        worker_id,
        metrics.jobs,
        metrics.jobs_running,
    )
    api = JobApi(ring.connection, streams, jobs, tasks, texts, now_ms, int(retention * 1000))
    resumptions = Resumptions(streams, jobs, texts, clock)
    control = JobControl(ring.connection, resumptions, jobs, tasks, texts, checkpoints, checkpoint_dir, now_ms)
    records = JobRecords(js, jobs, texts, api)
    return Assembly(
        worker=worker,
        tasks=task_worker,
        api=api,
        control=control,
        resumptions=resumptions,
        records=records,
        history=JobHistory(js, jobs),
        events=events,
        jobs=jobs,
        task_store=tasks,
        nodes=nodes,
        admission=admission,
        streams=streams,
        knowledge=KnowledgeApi(home, files, models_for),
        checkpoint_dir=checkpoint_dir,
        retention_seconds=retention,
    )


def now_ms() -> int:
    """Return milliseconds since 1970-01-01 UTC."""
    return int(time.time() * 1000)
