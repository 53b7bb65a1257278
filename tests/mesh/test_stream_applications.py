"""The applications on streams as jobs of a whole mesh: a job gives what a run here gives, its worker killed or not."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Protocol

from sage_apps.monitor.articles import article_records, day_of_articles
from sage_apps.monitor.monitor_board import MonitorBoard
from sage_apps.monitor.monitor_pipeline import MonitorOptions, monitor_pipeline
from sage_apps.pipelines import run_spec
from sage_apps.triage.tickets import incoming_tickets
from sage_apps.triage.triage_board import TriageBoard
from sage_apps.triage.triage_pipeline import ticket_records, triage_pipeline
from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_client.jobs.job_client import open_jobs
from sage_client.jobs.job_views import JobView
from sage_kernel.spec import PipelineSpec

SECONDS = 90.0
TRIES = 5


class Board(Protocol):
    def take(self, collection: str, records: list[dict[str, Any]]) -> object: ...


async def filled(board: Board, mesh: IsolatedMesh, spec: PipelineSpec, runner: str, **options: Any) -> None:
    run = run_spec(spec, runner, target=mesh.gateway_url, on_records=board.take, **options)
    await asyncio.wait_for(run, SECONDS)


async def kill_while_running(mesh: IsolatedMesh, job_id: str) -> None:
    """Kill the worker as soon as a task of the job runs: what is told of progress may come when it has ended."""
    jobs = await open_jobs(mesh.gateway_url)
    try:
        async for event in jobs.events(job_id, follow=True):
            if (event.kind, event.state) == ("task", "running"):
                mesh.process(mesh.processes("dataflow-worker")[0].name).kill()
                return
    finally:
        await jobs.close()


async def filled_across_a_kill(board: Board, mesh: IsolatedMesh, spec: PipelineSpec) -> str:
    """Run a job whose worker is killed; return the job's id once the worker runs again."""
    worker = mesh.processes("dataflow-worker")[0].name
    pid = mesh.process(worker).pid
    submitted: list[JobView] = []
    kills: list[asyncio.Task[None]] = []

    def on_submit(view: JobView) -> None:
        submitted.append(view)
        kills.append(asyncio.create_task(kill_while_running(mesh, view.job_id)))

    await filled(board, mesh, spec, "mesh", on_submit=on_submit)
    await asyncio.wait_for(kills[0], SECONDS)
    mesh.wait_ready(worker, not_pid=pid)
    return submitted[0].job_id


async def starts(mesh: IsolatedMesh, job_id: str) -> int:
    """Return how often the task of a job that was started most often was started."""
    jobs = await open_jobs(mesh.gateway_url)
    try:
        events = [event async for event in jobs.events(job_id) if event.kind == "task"]
    finally:
        await jobs.close()
    return max(Counter(event.task for event in events if event.state == "running").values())


async def test_a_triage_whose_worker_is_killed_gives_what_a_run_here_gives(mesh: IsolatedMesh) -> None:
    spec = triage_pipeline(ticket_records(incoming_tickets())).build()
    here = TriageBoard()
    await filled(here, mesh, spec, "local", keeps_nothing=True)
    # A task that had ended before the kill shows nothing: then another is tried.
    for _ in range(TRIES):
        job = TriageBoard()
        job_id = await filled_across_a_kill(job, mesh, spec)
        if await starts(mesh, job_id) > 1:
            break
    else:
        raise AssertionError(f"each of {TRIES} tasks had ended before its worker was killed")
    assert sorted(one.id for one in job.tickets) == [one.id for one in incoming_tickets()]
    assert {(one.id, one.category, one.urgency, one.similar) for one in job.tickets} == {
        (one.id, one.category, one.urgency, one.similar) for one in here.tickets
    }
    assert job.incidents == here.incidents
    assert "login" in {one.category for one in job.incidents}
    assert job.window_ends == here.window_ends


async def test_a_monitor_as_a_job_gives_what_a_run_here_gives(mesh: IsolatedMesh) -> None:
    # The mesh of the tests has no model that generates; the one that quotes answers each prompt alike.
    spec = monitor_pipeline(article_records(day_of_articles()), MonitorOptions(least_articles=5)).build()
    here, job = MonitorBoard(), MonitorBoard()
    await filled(here, mesh, spec, "local", keeps_nothing=True)
    await filled(job, mesh, spec, "mesh")
    assert job.articles == here.articles == 120
    assert sorted(job.duplicates, key=str) == sorted(here.duplicates, key=str)
    assert sorted(job.groups, key=str) == sorted(here.groups, key=str)
    assert len(job.topics()) > 5
