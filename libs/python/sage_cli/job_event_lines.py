"""What has happened to a job, a line an event."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sage_client.jobs.job_views import JobEventView


def event_line(event: JobEventView, zone: tzinfo | None = None) -> str:
    """Return an event as a line.

    Args:
        zone: of the time of day; None for the machine's own.
    """
    at = datetime.fromtimestamp(event.unix_ms / 1000, zone)
    return f"{at:%H:%M:%S}.{event.unix_ms % 1000:03d}  {event_text(event)}"


def event_text(event: JobEventView) -> str:
    """Return what has happened, without when."""
    if event.kind == "progress":
        return "progress  " + " ".join(f"{node.node_id}:{node.records_out}" for node in event.progress)
    who = "job" if event.task is None else f"task {event.task}"
    if event.kind == "checkpoint":
        return f"{who}  checkpoint {event.checkpoint}"
    at_worker = f" on {event.worker_id}" if event.worker_id else ""
    start = f", start {event.attempts}" if event.state == "running" and event.attempts > 1 else ""
    return f"{who}  {event.state}{at_worker}{start}" + (f": {event.reason}" if event.reason else "")


def is_news(event: JobEventView) -> bool:
    """Whether someone who watches the job's counts would miss it: what went another way than planned."""
    if event.kind != "task":
        return False
    return (event.state in ("waiting", "failed") and bool(event.reason)) or event.attempts > 1
