"""Where a job's tasks run, and why there, for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage_client.jobs.job_views import JobExplanation


def explanation_lines(answer: JobExplanation) -> list[str]:
    """Return what is known of a job's tasks, a line each, the workers that were considered below each."""
    job = answer.job
    lines = [f"{job.job_id} {job.state}: {job.plan or 'not planned yet'}"]
    if job.waiting:
        lines.append(f"waiting: {job.waiting}")
    for task in answer.tasks:
        lines.append(f"task {task.number} {task.state} on {task.worker_id or '-'}: {task.reason}")
        lines += [f"  {one.worker_id}: {one.refusal or f'score {one.score:g}'}" for one in task.candidates]
        lines += [f"  {error}" for error in task.errors]
    return lines


def explanation_json(answer: JobExplanation) -> dict[str, Any]:
    """Return the same as plain values, as the management API gives it."""
    return asdict(answer)
