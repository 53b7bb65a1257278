"""The spans of a recorded job: its coordination, and each run of a task of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sage_common.trace_context import is_sampled, tracing_as
from sage_dataflow_worker.job import Job

if TYPE_CHECKING:
    from sage_platform.tracing.tracer import Tracer

# Takes how a run has ended.
Ended = Callable[[str], None]
FAILED = "failed"


@contextmanager
def job_span(tracer: Tracer | None, job: Job, task: int | None = None) -> Iterator[Ended]:
    """Have what is done meanwhile, requests to models among it, belong to the job's trace.

    Args:
        task: number of the task that runs; None for the job's coordination.

    Yields:
        what is called with the outcome.
    """
    if tracer is None or not is_sampled(job.traceparent):
        with tracing_as(job.traceparent):
            yield lambda outcome: None
        return
    attributes: dict[str, str | bool | int | float] = {
        "sage.job_id": job.job_id,
        "sage.pipeline": job.pipeline,
        "sage.tenant": job.tenant,
        "sage.attempt": job.attempts,
    }
    if task is not None:
        attributes["sage.task"] = task
    name = f"job {job.pipeline}" if task is None else f"task {task} of {job.pipeline}"
    span = tracer.start(name, job.traceparent, attributes=attributes)

    def ended(outcome: str) -> None:
        span.set({"sage.outcome": outcome})
        if outcome == FAILED:
            span.fail(FAILED)

    try:
        with tracing_as(span.traceparent):
            yield ended
    except BaseException as error:
        span.fail(type(error).__name__)
        raise
    finally:
        span.end()
