"""What the runs of tasks on one worker share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nats.js.client import JetStreamContext
from nats.js.kv import KeyValue

from sage_common.clock import Clock
from sage_dataflow_worker.dead_letters import DeadLetters
from sage_dataflow_worker.job_store import JobStore
from sage_dataflow_worker.knowledge_home import KnowledgeHome
from sage_dataflow_worker.pipeline_texts import PipelineTexts
from sage_dataflow_worker.task_store import TaskStore
from sage_kernel.answer_store import AnswerStore
from sage_kernel.file_access import FileAccess
from sage_kernel.functions import NO_FUNCTIONS, FunctionRegistry
from sage_kernel.host_access import HostAccess
from sage_kernel.model_port import ModelPort
from sage_kernel.nats_access import NatsAccess
from sage_kernel.runtime.memory_guard import MemoryGuard, guard_of_process

if TYPE_CHECKING:
    from sage_platform.tracing.tracer import Tracer

LEASE_TTL_SECONDS = 3.0


@dataclass(frozen=True)
class TaskTools:
    """What every run of a task uses.

    Attributes:
        models_for: returns how a tenant's pipelines reach models.
        leases: the bucket of leases, with a TTL of ``LEASE_TTL_SECONDS``.
        checkpoint_dir: where the files of checkpoints are; one folder for all workers.
        interval_seconds: between writes of a task's progress.
        answers_for: returns where answers to a tenant's pipelines are kept, for all workers.
        tracer: makes the spans of tasks; None while nothing is traced.
        knowledge: the mesh's knowledge bases, where this worker has them.
    """

    js: JetStreamContext
    jobs: JobStore
    tasks: TaskStore
    texts: PipelineTexts
    leases: KeyValue
    checkpoints: KeyValue
    checkpoint_dir: Path
    dead_letters: DeadLetters
    models_for: Callable[[str], ModelPort]
    files: FileAccess
    hosts: HostAccess
    nats: NatsAccess
    cache_dir: Path | None
    worker_id: str
    interval_seconds: float
    clock: Clock
    knowledge: KnowledgeHome
    functions: FunctionRegistry = NO_FUNCTIONS
    answers_for: Callable[[str], AnswerStore | None] = lambda tenant: None
    tracer: Tracer | None = None
    memory: MemoryGuard = field(default_factory=guard_of_process)
