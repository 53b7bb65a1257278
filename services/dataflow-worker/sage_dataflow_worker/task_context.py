"""What the operators of a task share on this worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sage_dataflow_worker.job import Job
from sage_dataflow_worker.job_task import JobTask
from sage_dataflow_worker.pipeline_admission import AdmittedPipeline
from sage_dataflow_worker.results import TaskResults
from sage_dataflow_worker.task_tools import TaskTools
from sage_kernel.knowledge_access import KnowledgeAccess
from sage_kernel.run_context import DeadLetter, RunContext, Skipped
from sage_kernel.stage_targets import StageTargets


def task_context(
    task: JobTask,
    job: Job,
    admitted: AdmittedPipeline,
    results: TaskResults,
    tools: TaskTools,
    knowledge: KnowledgeAccess,
    warn: Callable[[str, str], None],
    skip: Callable[[Skipped], None],
) -> RunContext:
    """Return the context of one run of ``task``; a deadline counts from the job's submission."""
    nodes, deadline_us = admitted.spec.nodes, admitted.spec.settings.deadline
    loop = asyncio.get_running_loop()

    async def dead_letter(letter: DeadLetter) -> None:
        await tools.dead_letters.record(task.job_id, admitted.spec_hash, task.number, letter)

    end = job.created_unix_ms / 1000 + (deadline_us or 0) / 1e6
    seconds_left = None if deadline_us is None else lambda: end - time.time()
    return RunContext(
        models=tools.models_for(job.tenant),
        files=tools.files,
        hosts=tools.hosts,
        nats=tools.nats,
        knowledge=knowledge,
        functions=tools.functions,
        collections=results,
        cache_dir=tools.cache_dir,
        warn=warn,
        skip=skip,
        dead_letter=dead_letter,
        now_us=lambda: time.time_ns() // 1000,
        run_id=f"{job.job_id}-{task.number}",
        indexes={node_id: loop.create_future() for node_id, node in nodes.items() if node.makes_index},
        targets=StageTargets(nodes, seconds_left),
        answers=tools.answers_for(job.tenant),
        clock=tools.clock,
    )
