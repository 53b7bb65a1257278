"""``/pipelines``: the jobs, as they run, and the way to a new pipeline."""

from __future__ import annotations

import time

from nicegui import ui
from starlette.requests import Request
from starlette.responses import Response

from sage_client.jobs.job_views import JobView
from sage_common.errors import SageError
from sage_studio.pages.frame import empty, frame
from sage_studio.visit import Visit, Visits

REFRESH_SECONDS = 2.0
SHOWN_JOBS = 100
TONES = {"running": "running", "succeeded": "good", "failed": "bad", "pending": "queued", "paused": "queued"}


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page("/pipelines")
    async def pipelines_page(request: Request) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, "/pipelines", "Pipelines"):
            await _PipelinesPage(visit).update()
        return None


class _PipelinesPage:
    def __init__(self, visit: Visit) -> None:
        self._jobs = visit.access.jobs
        self._drawn: object = None
        with ui.element("div").classes("row-line").style("margin-bottom: 14px"):
            ui.button("Write a pipeline", icon="edit", on_click=lambda: ui.navigate.to("/pipelines/new")).props(
                "no-caps unelevated"
            )
        self._list = ui.element("section").classes("card lines")
        ui.timer(REFRESH_SECONDS, self.update, immediate=False)

    async def update(self) -> None:
        """Ask again, and draw what has changed."""
        found: list[JobView] | str
        try:
            found = await self._jobs.list_jobs(SHOWN_JOBS)
        except SageError as error:
            found = error.message
        if found == self._drawn:
            return
        self._drawn = found
        self._list.clear()
        with self._list:
            if isinstance(found, str):
                ui.label(found).classes("problem").props('role="alert"').style("margin: 0")
            elif not found:
                empty("No job has run yet. Write a pipeline above, or:", "sage job submit FILE")
            else:
                for job in found:
                    _line(job)


def _line(job: JobView) -> None:
    with ui.element("div").classes("line"):
        with ui.element("div"):
            ui.link(job.pipeline or job.job_id, f"/jobs/{job.job_id}").classes("who")
            begun = time.strftime("%d %b %H:%M:%S", time.localtime(job.created_unix_ms / 1000))
            ui.label(f"{job.job_id} · {begun}").classes("muted")
        failed = sum(node.records_failed for node in job.progress)
        through = job.progress[-1].records_in if job.progress else 0
        ui.label(f"{through:,} records" + (f", {failed:,} failed" if failed else "")).classes("amount muted")
        ui.label(job.state).classes(f"chip {TONES.get(job.state, '')}")
