"""Where a job's tasks run, and why there, for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage.dataflow.v1 import dataflow_pb2 as pb


def explanation_lines(answer: pb.ExplainJobResponse) -> list[str]:
    """Return what is known of a job's tasks, a line each, the workers that were considered below each."""
    from sage_cli.dataflow import state_name

    job = answer.job
    lines = [f"{job.job_id} {state_name(job)}: {job.plan or 'not planned yet'}"]
    if job.waiting:
        lines.append(f"waiting: {job.waiting}")
    for task in answer.tasks:
        lines.append(f"task {task.number} {task.state} on {task.worker_id or '-'}: {task.reason}")
        lines += [f"  {one.worker_id}: {one.refusal or f'score {one.score:g}'}" for one in task.candidates]
        lines += [f"  {error}" for error in task.errors]
    return lines


def explanation_json(answer: pb.ExplainJobResponse) -> dict[str, Any]:
    """Return the same as plain values, as the management API gives it."""
    from sage_cli.dataflow import to_json
    from sage_client.jobs.job_messages import task_view

    return {"job": to_json(answer.job), "tasks": [asdict(task_view(task)) for task in answer.tasks]}
