from __future__ import annotations

from datetime import timezone
from typing import Any

import pytest

from sage_cli.job_event_lines import event_line, is_news
from sage_client.jobs.job_views import JobEventView, NodeProgressView

NOON_MS = 12 * 3600 * 1000 + 42


def event(kind: str, state: str, **more: Any) -> JobEventView:
    return JobEventView(7, kind, NOON_MS, state, **more)


TAKEN_BACK = event("task", "waiting", task=3, reason="worker a holds its lease no more")
FIRST_START = event("task", "running", task=3, worker_id="a", attempts=1)
LATER_START = event("task", "running", task=3, worker_id="b", attempts=2)
COUNTS = event("progress", "running", progress=(NodeProgressView("n", 1, 2, 0), NodeProgressView("out", 2, 0, 0)))


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (event("state", "pending"), "job  pending"),
        (event("state", "failed", worker_id="a", reason="disk"), "job  failed on a: disk"),
        (TAKEN_BACK, "task 3  waiting: worker a holds its lease no more"),
        (FIRST_START, "task 3  running on a"),
        (LATER_START, "task 3  running on b, start 2"),
        (event("checkpoint", "running", task=3, checkpoint=12), "task 3  checkpoint 12"),
        (COUNTS, "progress  n:2 out:0"),
    ],
)
def test_an_event_is_a_line(told: JobEventView, text: str) -> None:
    assert event_line(told, timezone.utc) == f"12:00:00.042  {text}"


def test_who_watches_is_told_of_what_went_another_way_than_planned() -> None:
    assert [is_news(one) for one in (TAKEN_BACK, FIRST_START, LATER_START, COUNTS)] == [True, False, True, False]
