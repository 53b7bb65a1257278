"""Times in the records of a pipeline, as a run in this process gives them or a job on the mesh writes them."""

from __future__ import annotations

from datetime import datetime, timezone


def time_of(value: str | datetime) -> datetime:
    """Return a time of a record, in UTC."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return value.astimezone(timezone.utc) if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
