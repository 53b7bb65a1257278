"""``/requests/{id}``: one request as a timeline with its decisions, or two beside each other."""

from __future__ import annotations

import asyncio
from collections import Counter

from nicegui import ui
from starlette.requests import Request
from starlette.responses import Response

from sage_client.management.views import EngineView, Explanation
from sage_common.errors import SageError
from sage_studio.pages.frame import UPDATE_SECONDS, frame
from sage_studio.rows import engine_names
from sage_studio.time_account import Group, milliseconds, others_while_queued, time_account
from sage_studio.timeline import Span, Timeline, timeline
from sage_studio.visit import Visit, Visits

TICKS = 5


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page("/requests/{request_id}")
    async def request_page(request: Request, request_id: str) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        other = request.query_params.get("with")
        with frame(visit, "/requests", "Two requests" if other else "Request"):
            page = _RequestPage(visit, [request_id, *([other] if other else [])])
            await page.update()
        return None


class _RequestPage:
    def __init__(self, visit: Visit, request_ids: list[str]) -> None:
        self._access = visit.access
        self._request_ids = request_ids
        self._box = ui.element("div").classes("compare")
        self._timer = ui.timer(UPDATE_SECONDS, self.update, immediate=False)
        self._told: list[Explanation | str] = []
        self._shown: object = None
        self._opened_at = visit.access.feed.version

    async def update(self) -> None:
        """Ask again, and draw what has changed; of requests that have ended nothing does."""
        asked = [self._explained(request_id) for request_id in self._request_ids]
        told = list(await asyncio.gather(*asked))
        feed = self._access.feed
        # What ran beside them is known with the first poll that has come since the page was opened.
        if feed.version > self._opened_at and all(map(_has_ended, told)):
            self._timer.deactivate()
        self._told = told
        known = [one for one in told if not isinstance(one, str)]
        others = {one.request_id: others_while_queued(one, timeline(one), feed.requests) for one in known}
        names = engine_names(feed.engines)
        engines = {engine.engine_id: engine for engine in feed.engines}
        caps = [engines[one.engine_id].request_cap for one in known if one.engine_id in engines]
        if (told, others, names, caps) == self._shown:
            return
        self._shown = (told, others, names, caps)
        # One scale for both.
        scale = max((timeline(one).end_ms for one in known), default=0.0)
        self._box.clear()
        with self._box:
            for one in told:
                if isinstance(one, str):
                    ui.label(one).classes("problem").props('role="alert"')
                else:
                    _draw(one, others[one.request_id], engines.get(one.engine_id), names, scale)

    async def _explained(self, request_id: str) -> Explanation | str:
        try:
            return (await self._access.management.explain(request_id))[0]
        except SageError as error:
            return error.message


def _has_ended(told: Explanation | str) -> bool:
    """Whether nothing more will be said of a request. What could not be asked now may be said in a moment."""
    return not isinstance(told, str) and told.ended_after_ms is not None


def _draw(
    told: Explanation, others: Counter[Group], engine: EngineView | None, names: dict[str, str], scale_ms: float
) -> None:
    drawn = timeline(told)
    with ui.element("section").classes("card"):
        _facts(told, names)
        with ui.element("p").classes("account").props('aria-label="Where the time went"'):
            for sentence in time_account(told, drawn, others, engine):
                ui.label(sentence)
        _spans(told, drawn, names, scale_ms)
        if told.error_code:
            ui.label(f"{told.error_code}: {told.error_message}").classes("problem").style("margin: 14px 0 0")
        for dispatch in told.dispatches:
            if dispatch.candidates:
                ui.label(_why(dispatch.tries, dispatch.hedge, len(told.dispatches))).classes("section").style(
                    "margin-top: 18px"
                )
                best = max(candidate.score for candidate in dispatch.candidates) or 1.0
                for candidate in dispatch.candidates:
                    chosen = candidate.engine_id == dispatch.engine_id
                    with ui.element("div").classes("candidate" + (" chosen" if chosen else "")):
                        ui.label(names.get(candidate.engine_id, candidate.engine_id)).classes("who")
                        with ui.element("div").classes("meter"):
                            ui.element("div").style(f"width: {max(0.0, candidate.score / best) * 100:.1f}%")
                        cached = f", {candidate.cached_share:.0%} cached" if candidate.cached_share else ""
                        ui.label(f"{candidate.score:.3f}{cached}").classes("amount")
        known = told.classification
        if known is not None and known.reasons:
            with ui.expansion("How it was classified").classes("muted").props("dense"):
                for reason in known.reasons:
                    ui.label(reason)


def _why(tries: int, hedge: bool, of: int) -> str:
    which = "The hedge" if hedge else f"Try {tries}" if of > 1 else "The decision"
    return f"{which}: engines considered, and their scores"


def _facts(told: Explanation, names: dict[str, str]) -> None:
    known = told.classification
    with ui.element("div").classes("row-line").style("margin-bottom: 12px"):
        tone = {"finished": "good", "queued": "queued", "running": "running"}.get(told.state, "bad")
        ui.label(told.state).classes(f"chip {tone}")
        ui.label(told.correlation_id or told.request_id).classes("mono muted")
    with ui.element("div").classes("facts"):
        _fact("model", (known.model if known else "") or "—")
        _fact("class", known.service_class if known else "—")
        _fact("tenant", told.tenant or "—")
        _fact("policy", told.policy or "—")
        _fact("engine", names.get(told.engine_id, told.engine_id) or "none")
        if known is not None and known.slo_ttft_ms:
            _fact("TTFT target", f"{known.slo_ttft_ms:,} ms")
        if told.interruptions:
            _fact("gave its seat", f"{told.interruptions} ×")


def _fact(what: str, value: str) -> None:
    with ui.element("div").classes("fact"):
        ui.label(what).classes("what")
        ui.label(value).classes("value")


def _spans(told: Explanation, drawn: Timeline, names: dict[str, str], scale_ms: float) -> None:
    scale = max(scale_ms, 0.001)
    target = told.classification.slo_ttft_ms if told.classification else 0
    with ui.element("div").classes("timeline").props('role="list" aria-label="Timeline"'):
        for span in drawn.spans:
            length = milliseconds(span.end_ms - span.begin_ms)
            title = span.title
            for engine_id, name in names.items():
                title = title.replace(engine_id, name)
            ui.label(title).classes("name").props('role="listitem"')
            with ui.element("div").classes("lane"):
                left = span.begin_ms / scale * 100
                width = (span.end_ms - span.begin_ms) / scale * 100
                bar = ui.element("div").classes(f"span {span.phase}")
                bar.style(f"left: min({left:.3f}%, calc(100% - 3px)); width: {width:.3f}%")
                bar.tooltip(f"{milliseconds(span.begin_ms)} to {milliseconds(span.end_ms)}")
                if target and span.phase == "first_token" and target <= scale:
                    mark = ui.element("div").classes("target")
                    mark.style(f"left: {target / scale * 100:.3f}%")
            ui.label(length).classes("length")
            note = _note(span, target if target <= scale else 0)
            if note:
                ui.label(note).classes("note")
        with ui.element("div").classes("axis").props('aria-hidden="true"'):
            for tick in range(TICKS):
                ui.label(milliseconds(scale * tick / (TICKS - 1)))


def _note(span: Span, target_ms: int) -> str:
    """Return what is said below a span: of the first token also what the line in its lane is, where there is one."""
    if span.phase == "queued" and span.note.endswith(", late"):
        return f"{span.note}: it could no longer begin in time"
    if span.phase == "first_token" and target_ms:
        return "; ".join(filter(None, (span.note, f"the dashed line is its target, {milliseconds(target_ms)}")))
    return span.note
