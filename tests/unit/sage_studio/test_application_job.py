"""The job behind an application's page: what is said where it can be followed no further."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sage_client.jobs.job_views import JobView, ResultPiece
from sage_common.errors import NotFoundError, UnavailableError
from sage_studio.pages import application_job
from sage_studio.pages.application_job import ApplicationJob


class EndlessJob:
    """``Jobs`` of a job that runs on, whose results break off once and are then read again."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.read = 0

    async def watch(self, job_id: str) -> AsyncIterator[JobView]:
        yield JobView(job_id, "triage", "running")
        await asyncio.Event().wait()

    async def results(self, job_id: str, *, after: int, follow: bool) -> AsyncIterator[ResultPiece]:
        self.read += 1
        yield ResultPiece(after + 1, "tickets", 0, 0, [{"id": str(after)}])
        raise self._errors.pop(0)


def followed(jobs: EndlessJob) -> tuple[Any, list[str], list[Any]]:
    page: Any = ApplicationJob.__new__(ApplicationJob)
    said: list[str] = []
    records: list[Any] = []
    page._jobs, page._job_id, page._last = jobs, "job-1", 0
    page._say, page._draw = said.append, lambda job: None
    page._on_records = lambda _, some: records.extend(some)
    return page, said, records


async def test_results_that_break_off_are_read_on_while_the_job_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application_job, "RETRY_SECONDS", 0.0)
    jobs = EndlessJob(UnavailableError("no worker answers"), NotFoundError("the job is gone"))
    page, said, records = followed(jobs)
    await asyncio.wait_for(page._follow(), 5.0)
    assert (jobs.read, said) == (2, ["no worker answers", "the job is gone"])
    assert records == [{"id": "0"}, {"id": "1"}]


async def test_an_error_of_the_page_itself_is_said() -> None:
    page, said, _ = followed(EndlessJob(KeyError("window")))
    await asyncio.wait_for(page._follow(), 5.0)
    assert said == ["This page cannot show the job any further (KeyError('window')); load it again."]
