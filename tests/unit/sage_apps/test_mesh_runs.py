"""Following a job whose worker dies: the job goes on, and so does whoever follows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import sage
from sage_apps import local_runs, mesh_runs
from sage_client.jobs.job_views import DeadLetters, JobView, ResultPiece
from sage_common.errors import UnavailableError

GONE = UnavailableError("no dataflow-worker answers")


class RestartedWorker:
    """``Jobs`` of a worker that dies once while it tells of a job."""

    def __init__(self) -> None:
        self.watched = 0
        self.read_after: list[int] = []

    async def submit(self, pipeline: object, job_id: str = "", *, tenant: str = "") -> JobView:
        return JobView("job-1", "numbers", "pending")

    async def watch(self, job_id: str) -> AsyncIterator[JobView]:
        self.watched += 1
        if self.watched == 1:
            yield JobView(job_id, "numbers", "running")
            raise GONE
        yield JobView(job_id, "numbers", "succeeded")

    async def results(
        self, job_id: str, collection: str = "", *, after: int = 0, follow: bool = False
    ) -> AsyncIterator[ResultPiece]:
        self.read_after.append(after)
        if after == 0:
            yield ResultPiece(7, "out", 0, 0, [{"n": 1}])
            raise GONE
        yield ResultPiece(9, "out", 0, 1, [{"n": 2}])
        yield ResultPiece(10, "", 0, 0, [], {"collections": ["out"]})

    async def dead_letters(self, job_id: str, node: str = "", *, limit: int = 0, after: int = 0) -> DeadLetters:
        return DeadLetters((), 0)

    async def close(self) -> None: ...


def running(monkeypatch: pytest.MonkeyPatch, worker: RestartedWorker, patience_seconds: float) -> Any:
    async def opened(*_: Any, **__: Any) -> RestartedWorker:
        return worker

    monkeypatch.setattr(mesh_runs, "open_jobs", opened)
    monkeypatch.setattr(mesh_runs, "ASK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(mesh_runs, "PATIENCE_SECONDS", patience_seconds)
    pipeline = sage.Pipeline("numbers")
    pipeline.source(records=[{"n": 1}]).sink("collection:out")
    return pipeline.build()


async def test_a_worker_that_is_back_is_asked_again_for_what_has_not_been_read(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = RestartedWorker()
    told: list[tuple[str, list[Any]]] = []
    spec = running(monkeypatch, worker, 60.0)
    result = await mesh_runs.run(spec, on_records=lambda name, records: told.append((name, records)))
    assert result.collections == {"out": [{"n": 1}, {"n": 2}]}
    assert told == [("out", [{"n": 1}]), ("out", [{"n": 2}])]
    assert worker.read_after == [0, 7]


async def test_a_worker_that_dies_at_the_end_is_asked_again_for_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    class DiesAtTheEnd(RestartedWorker):
        asked = 0

        async def dead_letters(self, job_id: str, node: str = "", *, limit: int = 0, after: int = 0) -> DeadLetters:
            self.asked += 1
            if self.asked == 1:
                raise GONE
            return DeadLetters((), 0)

    worker = DiesAtTheEnd()
    result = await mesh_runs.run(running(monkeypatch, worker, 60.0))
    assert (worker.asked, result.dead_letters) == (2, [])


async def test_a_worker_that_never_answers_again_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(RestartedWorker):
        async def watch(self, job_id: str) -> AsyncIterator[JobView]:
            raise GONE
            yield

    with pytest.raises(UnavailableError, match="no dataflow-worker answers"):
        await mesh_runs.run(running(monkeypatch, Silent(), 0.0))


async def test_a_stream_that_was_quiet_and_breaks_again_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_runs, "ASK_AGAIN_SECONDS", 0.0)
    clock = [0.0]
    patience = mesh_runs._Patience(lambda: clock[0])
    for clock[0] in (0.0, 120.0, 240.0, 250.0):
        await patience.wait(GONE)


async def test_attempts_that_fail_one_after_the_other_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_runs, "ASK_AGAIN_SECONDS", 0.0)
    clock = [0.0]
    patience = mesh_runs._Patience(lambda: clock[0])
    for clock[0] in (10.0, 30.0, 50.0):
        await patience.wait(GONE)
    clock[0] = 70.0
    with pytest.raises(UnavailableError, match="no dataflow-worker answers"):
        await patience.wait(GONE)


async def test_results_that_cannot_be_read_end_the_run_of_a_job_that_has_no_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Endless(RestartedWorker):
        async def watch(self, job_id: str) -> AsyncIterator[JobView]:
            yield JobView(job_id, "numbers", "running")
            await asyncio.Event().wait()

    def on_records(*_: Any) -> None:
        raise LookupError("no such column")

    spec = running(monkeypatch, Endless(), 60.0)
    with pytest.raises(LookupError, match="no such column"):
        await asyncio.wait_for(mesh_runs.run(spec, on_records=on_records), 5.0)


async def test_what_is_not_collected_is_handed_on_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    spec = running(monkeypatch, RestartedWorker(), 60.0)
    result = await mesh_runs.run(spec, on_records=lambda _, records: told.extend(records), collects=False)
    assert told == [{"n": 1}, {"n": 2}]
    assert result.collections == {"out": []}


async def test_a_run_here_keeps_nothing_that_is_not_collected() -> None:
    told: list[Any] = []
    pipeline = sage.Pipeline("numbers")
    pipeline.source(records=[{"n": 1}, {"n": 2}]).sink("collection:out")
    result = await local_runs.run(
        pipeline.build(), on_records=lambda _, records: told.extend(records), collects=False, keeps_nothing=True
    )
    assert told == [{"n": 1}, {"n": 2}]
    assert result.collections == {"out": []}
