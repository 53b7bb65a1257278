"""``/apps/triage``: tickets as a job sorts them, how many a category has, and where it had too many."""

from __future__ import annotations

from typing import Any, get_args

from nicegui import ui
from starlette.requests import Request
from starlette.responses import Response

from sage_apps.triage.tickets import CATEGORIES, UNSORTED, incoming_tickets
from sage_apps.triage.triage_board import SortedTicket, TriageBoard
from sage_apps.triage.triage_pipeline import Classifier, TriageOptions, ticket_records, triage_pipeline
from sage_studio.pages.application_job import MOST_KEPT, ApplicationJob, submit_and_show
from sage_studio.pages.applications_page import PATH
from sage_studio.pages.frame import UPDATE_SECONDS, empty, frame
from sage_studio.visit import Visit, Visits

SHOWN_TICKETS = 30
_COLOURS = ("#3a5bd9", "#1a8a55", "#c93b3b", "#b3741a", "#7b4fc9", "#5b7083", "#9a9a9a")


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page(f"{PATH}/triage")
    async def triage_page(request: Request, job: str = "") -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, PATH, "Ticket triage"):
            _TriagePage(visit, job)
        return None


class _TriagePage:
    def __init__(self, visit: Visit, job_id: str) -> None:
        self._jobs = visit.access.jobs
        self._board = TriageBoard(most_kept=MOST_KEPT)
        self._has_new = bool(job_id)
        with ui.element("div").classes("params"):
            self._classifier = ui.select(list(get_args(Classifier)), value=TriageOptions.classifier, label="Sorted by")
            self._classifier.props("dense outlined").classes("policy")
            self._alert = ui.number("Alert from", value=TriageOptions.alert_tickets, min=1, precision=0)
            self._alert.props("dense outlined")
            ui.button("Sort a morning's tickets", icon="play_arrow", on_click=self._start).props("no-caps unelevated")
        ApplicationJob(self._jobs, job_id, self._take)
        if not job_id:
            empty("Tickets of a morning come with the application. Sort them above, or:", "sage app triage")
            return
        self._incidents = ui.element("div").props('role="log" aria-label="Incidents"')
        with ui.element("section").classes("card"):
            ui.label("Tickets of each category in ten minutes").classes("section").style("margin: 0")
            self._chart = ui.echart(_options(self._board)).classes("chart")
        with ui.element("section").classes("card lines").style("margin-top: 14px"):
            self._list = ui.element("div").props('role="list" aria-label="Tickets"')
        ui.timer(UPDATE_SECONDS, self._update)

    async def _start(self) -> None:
        options = TriageOptions(self._classifier.value, alert_tickets=int(self._alert.value or 1))
        pipeline = triage_pipeline(ticket_records(incoming_tickets()), options)
        await submit_and_show(self._jobs, pipeline, f"{PATH}/triage")

    def _take(self, collection: str, records: Any) -> None:
        self._board.take(collection, records)
        self._has_new = True

    def _update(self) -> None:
        if not self._has_new:
            return
        self._has_new = False
        options = self._chart.options
        options.clear()
        options.update(_options(self._board))
        self._chart.update()
        self._incidents.clear()
        with self._incidents:
            for one in self._board.incidents:
                with ui.element("div").classes("fault"):
                    ui.label(f"{one.category}: up to {one.most} tickets in ten minutes").classes("who")
                    ui.label(f"noticed at {one.raised_at:%H:%M}, over at {one.ended_at:%H:%M} · {one.example}").classes(
                        "muted"
                    )
        self._list.clear()
        with self._list:
            for ticket in sorted(self._board.tickets, key=lambda one: one.at, reverse=True)[:SHOWN_TICKETS]:
                _line(ticket)


def _line(ticket: SortedTicket) -> None:
    with ui.element("div").classes("line").props('role="listitem"'):
        with ui.element("div"):
            ui.label(ticket.text).classes("who")
            if ticket.similar:
                ui.label(f"like: {ticket.similar} → {ticket.resolution}").classes("muted")
        ui.label(f"{ticket.at:%H:%M:%S}").classes("amount muted")
        ui.label(ticket.category).classes("chip bad" if ticket.urgency == "high" else "chip")


def _options(board: TriageBoard) -> dict[str, Any]:
    """Return a chart of the counts by window, each incident marked on its category's line."""
    ends = board.window_ends
    # Windows of more than one day: the time alone is that of several.
    shape = "%H:%M" if len({end.date() for end in ends}) <= 1 else "%d %b %H:%M"
    categories = [*CATEGORIES, *([UNSORTED] if any(board.counts(UNSORTED)) else [])]
    incidents = board.incidents
    series = []
    for colour, category in zip(_COLOURS, categories, strict=False):
        counts = board.counts(category)
        marked = [
            {"coord": [f"{one.raised_at:{shape}}", counts[ends.index(one.raised_at)]], "value": "alert"}
            for one in incidents
            if one.category == category and one.raised_at in ends
        ]
        series.append(
            {
                "name": category,
                "type": "line",
                "step": "end",
                "showSymbol": False,
                "color": colour,
                "data": counts,
                "markPoint": {"data": marked, "symbolSize": 44},
            }
        )
    return {
        "animation": False,
        "grid": {"left": 36, "right": 16, "top": 40, "bottom": 28},
        "legend": {"top": 0},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "category", "data": [f"{end:{shape}}" for end in ends]},
        "yAxis": {"type": "value", "minInterval": 1},
        "series": series,
    }
