"""The job behind an application's page: its state, its errors, and its records as it publishes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui

from sage_client.jobs.job_views import JobView
from sage_client.jobs.jobs import Jobs
from sage_common.errors import NotFoundError, SageError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_studio.pages.frame import ERROR_MS, give_order
from sage_studio.pages.pipelines_page import TONES

log = get_logger(__name__)

# A gateway that is away for a moment is asked again.
RETRY_SECONDS = 2.0
# Records of a job that a page holds for whoever looks at it.
MOST_KEPT = 2_000


class ApplicationJob:
    """Shows a job and hands its records on, from its first one, for as long as somebody looks.

    Args:
        job_id: empty where none was started yet.
        on_records: gets a collection and records that were published to it, in order.
    """

    def __init__(self, jobs: Jobs, job_id: str, on_records: Callable[[str, Sequence[Any]], None]) -> None:
        self._jobs = jobs
        self._job_id = job_id
        self._on_records = on_records
        self._last = 0
        with ui.element("div").classes("row-line").style("margin-bottom: 10px") as line:
            self._state = ui.label().classes("chip").props('role="status"').mark("job-state")
            ui.link(job_id, f"/jobs/{job_id}").classes("mono muted")
            self._cancel = ui.button("Cancel", on_click=self._on_cancel)
            self._cancel.props("flat dense no-caps color=negative").classes("right")
        line.set_visibility(bool(job_id))
        self._errors = ui.label().classes("problem").props('role="alert"')
        self._errors.set_visibility(False)
        if job_id:
            self._following = asyncio.get_running_loop().create_task(self._follow())
            # The job goes on; only this page looks no more.
            ui.context.client.on_delete(self._following.cancel)

    async def _follow(self) -> None:
        while True:
            tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._read())]
            try:
                # Whichever fails: a page whose records have stopped must not say "running" as if it showed them all.
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in tasks:
                    if task.done():
                        task.result()
                return
            except NotFoundError as error:
                self._say(error.message)
                return
            except SageError as error:
                self._say(error.message)
            except Exception as error:
                log.exception("an application's page cannot follow its job", job=self._job_id)
                self._say(f"This page cannot show the job any further ({error!r}); load it again.")
                return
            finally:
                await end_tasks(*tasks)
            await asyncio.sleep(RETRY_SECONDS)

    async def _watch(self) -> None:
        async for job in self._jobs.watch(self._job_id):
            self._draw(job)

    async def _read(self) -> None:
        async for piece in self._jobs.results(self._job_id, after=self._last, follow=True):
            self._last = piece.sequence
            if piece.records:
                self._on_records(piece.collection, piece.records)

    def _draw(self, job: JobView) -> None:
        self._state.set_text(job.state)
        self._state.classes(replace=f"chip {TONES.get(job.state, '')}")
        self._cancel.set_visibility(not job.ended)
        self._say("\n".join(job.errors) or job.waiting)

    def _say(self, text: str) -> None:
        self._errors.set_text(text)
        self._errors.set_visibility(bool(text))

    async def _on_cancel(self) -> None:
        await give_order(self._jobs.cancel(self._job_id), "the job is cancelled")


async def submit_and_show(jobs: Jobs, pipeline: object, path: str) -> None:
    """Submit a pipeline, and go to the page at ``path`` that shows its job; say why where it is refused."""
    try:
        job = await jobs.submit(pipeline)
    except SageError as error:
        ui.notify(error.message, type="negative", multi_line=True, timeout=ERROR_MS, close_button="Close")
        return
    ui.navigate.to(f"{path}?job={job.job_id}")
