"""``/apps/monitor``: topics of incoming articles as a job finds them, and articles that tell the same."""

from __future__ import annotations

from typing import Any

from nicegui import ui
from starlette.requests import Request
from starlette.responses import Response

from sage_apps.monitor.articles import article_records, day_of_articles
from sage_apps.monitor.monitor_board import DuplicatePair, MonitorBoard, TopicGroup
from sage_apps.monitor.monitor_pipeline import MonitorOptions, monitor_pipeline
from sage_studio.pages.application_job import MOST_KEPT, ApplicationJob, submit_and_show
from sage_studio.pages.applications_page import PATH
from sage_studio.pages.frame import UPDATE_SECONDS, empty, frame
from sage_studio.visit import Visit, Visits

SHOWN_PAIRS = 40
SHOWN_TITLES = 12


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page(f"{PATH}/monitor")
    async def monitor_page(request: Request, job: str = "") -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, PATH, "Article monitor"):
            _MonitorPage(visit, job)
        return None


class _MonitorPage:
    def __init__(self, visit: Visit, job_id: str) -> None:
        self._jobs = visit.access.jobs
        self._board = MonitorBoard(MOST_KEPT)
        self._has_new = bool(job_id)
        with ui.element("div").classes("params"):
            self._duplicate = _similarity("Duplicate from", MonitorOptions.duplicate_similarity)
            self._topic = _similarity("Same topic from", MonitorOptions.topic_similarity)
            ui.button("Watch a day's articles", icon="play_arrow", on_click=self._start).props("no-caps unelevated")
        ApplicationJob(self._jobs, job_id, self._take)
        if not job_id:
            empty("Articles of a day come with the application. Watch them above, or:", "sage app monitor")
            return
        with ui.element("div").classes("cards wide-cards"):
            with ui.element("section").classes("card lines"):
                ui.label("Topics").classes("section").style("margin: 0")
                self._topics = ui.element("div").props('role="list" aria-label="Topics"')
            with ui.element("section").classes("card lines"):
                ui.label("Articles that tell the same").classes("section").style("margin: 0")
                self._pairs = ui.element("div").props('role="list" aria-label="Duplicates"')
        ui.timer(UPDATE_SECONDS, self._update)

    async def _start(self) -> None:
        options = MonitorOptions(
            duplicate_similarity=float(self._duplicate.value), topic_similarity=float(self._topic.value)
        )
        pipeline = monitor_pipeline(article_records(day_of_articles()), options)
        await submit_and_show(self._jobs, pipeline, f"{PATH}/monitor")

    def _take(self, collection: str, records: Any) -> None:
        self._board.take(collection, records)
        self._has_new = True

    def _update(self) -> None:
        if not self._has_new:
            return
        self._has_new = False
        self._topics.clear()
        with self._topics:
            for groups in self._board.topics():
                _topic(groups)
        self._pairs.clear()
        with self._pairs:
            for pair in sorted(self._board.duplicates, key=lambda one: one.at, reverse=True)[:SHOWN_PAIRS]:
                _pair(pair)


def _similarity(label: str, value: float) -> ui.number:
    return ui.number(label, value=value, min=-1, max=1, step=0.05, precision=2).props("dense outlined")


def _topic(groups: list[TopicGroup]) -> None:
    count = sum(one.articles for one in groups)
    with ui.element("div").classes("line").props('role="listitem"'):
        with ui.element("div"):
            ui.label(" / ".join(dict.fromkeys(one.label for one in groups))).classes("who")
            titles = [title for one in groups for title in one.titles]
            ui.label(" · ".join(titles[:SHOWN_TITLES])).classes("muted")
        ui.label(f"since {groups[0].first_seen:%H:%M}").classes("amount muted")
        ui.label(f"{count} articles").classes("chip")


def _pair(pair: DuplicatePair) -> None:
    with ui.element("div").classes("line").props('role="listitem"'):
        with ui.element("div"):
            ui.label(pair.title).classes("who")
            ui.label(pair.earlier_title).classes("muted")
        ui.label(f"{pair.at:%H:%M}").classes("amount muted")
        ui.label(f"{pair.similarity:.2f}").classes("chip")
