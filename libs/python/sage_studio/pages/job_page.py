"""``/jobs/{id}``: a job with its progress at each node, its results, and what failed."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any

from nicegui import ui
from starlette.requests import Request
from starlette.responses import Response

from sage_client.jobs.job_views import DeadLetters, JobView, NodeProgressView
from sage_common.errors import SageError
from sage_studio.pages.engine_dialogs import confirm
from sage_studio.pages.frame import UPDATE_SECONDS, frame, give_order
from sage_studio.pages.pipelines_page import TONES
from sage_studio.sample_pipeline import PREFIX
from sage_studio.visit import Visit, Visits

# Of each collection, and of all until nobody reads on.
SHOWN_RECORDS = 20
READ_RECORDS = 2_000
SHOWN_LETTERS = 20


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page("/jobs/{job_id}")
    async def job_page(request: Request, job_id: str) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, "/pipelines", "Job"):
            page = _JobPage(visit, job_id)
            await page.update()
        return None


class _JobPage:
    def __init__(self, visit: Visit, job_id: str) -> None:
        self._jobs = visit.access.jobs
        self._job_id = job_id
        self._job: JobView | None = None
        self._letters = DeadLetters((), 0)
        with ui.element("section").classes("card"):
            with ui.element("div").classes("row-line"):
                self._state = ui.label().classes("chip")
                ui.label(job_id).classes("mono muted")
                with ui.element("div").classes("row-line right"):
                    self._pause = ui.button("Pause", on_click=self._on_pause).props("flat dense no-caps")
                    self._resume = ui.button("Resume", on_click=self._on_resume).props("flat dense no-caps")
                    self._cancel = ui.button("Cancel", on_click=self._on_cancel)
                    self._cancel.props("flat dense no-caps color=negative")
            self._errors = ui.label().classes("problem").props('role="alert"').style("margin: 12px 0 0")
            self._nodes = ui.element("div").classes("bars").style("margin-top: 14px")
        with ui.element("div").classes("cards wide-cards"):
            with ui.element("section").classes("card"):
                with ui.element("div").classes("row-line"):
                    ui.label("Results").classes("section").style("margin: 0")
                    ui.button("Read", on_click=self._read).props("flat dense no-caps").classes("right")
                self._results = ui.element("div").style("margin-top: 8px")
            with ui.element("section").classes("card"):
                with ui.element("div").classes("row-line"):
                    ui.label("Records that failed").classes("section").style("margin: 0")
                    self._replay = ui.button("Replay", on_click=self._on_replay).props("flat dense no-caps")
                    self._replay.classes("right")
                self._dead = ui.element("div").style("margin-top: 8px")
        self._drawn: object = None
        self._timer = ui.timer(UPDATE_SECONDS, self.update, immediate=False)

    async def update(self) -> None:
        """Ask again; of a job that has ended nothing changes."""
        try:
            job = await self._jobs.get(self._job_id)
            failed = sum(node.records_failed for node in job.progress)
            if failed != self._letters.total:
                self._letters = await self._jobs.dead_letters(self._job_id, limit=SHOWN_LETTERS)
        except SageError as error:
            self._errors.set_text(error.message)
            self._errors.set_visibility(True)
            return
        if (job, self._letters) == self._drawn:
            return
        was_running = self._job is not None and not self._job.ended
        self._drawn, self._job = (job, self._letters), job
        self._draw(job)
        if job.ended:
            self._timer.deactivate()
            if was_running or job.state == "succeeded":
                await self._read()

    def _draw(self, job: JobView) -> None:
        self._state.set_text(job.state)
        self._state.classes(replace=f"chip {TONES.get(job.state, '')}")
        text = "\n".join(job.errors) or job.waiting
        self._errors.set_text(text)
        self._errors.set_visibility(bool(text))
        self._pause.set_visibility(job.state in ("running", "pending"))
        self._resume.set_visibility(job.state == "paused")
        self._cancel.set_visibility(not job.ended)
        self._nodes.clear()
        with self._nodes:
            for node in job.progress:
                _node(node, job.ended)
        self._replay.set_visibility(bool(self._letters.total))
        self._dead.clear()
        with self._dead:
            if not self._letters.total:
                ui.label("None.").classes("muted")
            for letter in self._letters.letters:
                with ui.element("div").classes("fault"):
                    ui.label(f"{letter.node_id or 'the job'}: {letter.error}").classes("who")
                    ui.label(_json(letter.record)).classes("muted mono")

    async def _read(self) -> None:
        found: dict[str, list[Any]] = {}
        count = 0
        try:
            async for piece in self._jobs.results(self._job_id):
                shown = found.setdefault(piece.collection, []) if piece.records else []
                shown += piece.records[: SHOWN_RECORDS - len(shown)]
                count += len(piece.records)
                if count >= READ_RECORDS:
                    break
        except SageError as error:
            ui.notify(error.message, type="negative", multi_line=True)
            return
        self._results.clear()
        with self._results:
            if not found:
                ui.label("Nothing was published yet.").classes("muted")
            for collection, records in found.items():
                where = f"at {collection.removeprefix(PREFIX)}" if collection.startswith(PREFIX) else collection
                ui.label(f"{where}, {len(records)} records").classes("muted")
                ui.label("\n".join(_json(record) for record in records)).classes("records mono")

    async def _order(self, order: Awaitable[object], done: str) -> None:
        if await give_order(order, done):
            self._timer.activate()
            await self.update()

    async def _on_pause(self) -> None:
        await self._order(self._jobs.pause(self._job_id), "the job pauses")

    async def _on_resume(self) -> None:
        await self._order(self._jobs.resume(self._job_id), "the job goes on")

    async def _on_cancel(self) -> None:
        if await confirm("Cancel the job? What it has published stays.", "Cancel it"):
            await self._order(self._jobs.cancel(self._job_id), "the job is cancelled")

    async def _on_replay(self) -> None:
        try:
            replay = await self._jobs.replay(self._job_id)
        except SageError as error:
            ui.notify(error.message, type="negative", multi_line=True)
            return
        ui.navigate.to(f"/jobs/{replay.job.job_id}")


def _node(node: NodeProgressView, ended: bool) -> None:
    total = node.records_total or 0
    share = min(1.0, node.records_out / total) if total else (1.0 if ended else 0.0)
    with ui.element("div").classes("barline"):
        ui.label(node.node_id)
        with ui.element("div").classes("meter " + ("bad-meter" if node.records_failed else "good-meter")):
            ui.element("div").style(f"width: {share * 100:.1f}%")
        failed = f", {node.records_failed:,} failed" if node.records_failed else ""
        ui.label(f"{node.records_in:,} → {node.records_out:,}{failed}").classes("amount muted").style(
            "white-space: nowrap"
        )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
