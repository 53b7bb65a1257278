"""``/``: the ring as a live picture, what waits, which targets were kept, and what happened."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from nicegui import ui
from starlette.requests import Request
from starlette.responses import Response

from sage_client.management.engine_cap import narrowed_to
from sage_client.management.views import EngineView
from sage_studio.feed import MeshFeed
from sage_studio.figures import Rates, attainment, rates, waiting
from sage_studio.pages.frame import UPDATE_SECONDS, empty, frame
from sage_studio.visit import Visit, Visits

SHOWN_EVENTS = 12
SHOWN_QUEUES = 8
# A class below this has a red bar.
ATTAINED = 0.9
# Nothing a second, to people.
QUIET = 0.05


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page("/")
    async def mesh_page(request: Request) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, "/", "Mesh"):
            _MeshPage(visit)
        return None


class _MeshPage:
    def __init__(self, visit: Visit) -> None:
        self._feed = visit.access.feed
        self._drawn = 0
        with ui.element("section").classes("card"):
            self._ring = _Ring()
        with ui.element("div").classes("cards"):
            with ui.element("section").classes("card"):
                ui.label("Waiting now").classes("section")
                self._queue = ui.element("div").classes("bars")
            with ui.element("section").classes("card"):
                ui.label("Targets kept, last five minutes").classes("section")
                self._attainment = ui.element("div").classes("bars")
            with ui.element("section").classes("card"):
                ui.label("What happened").classes("section")
                self._events = ui.element("div").props('role="log" aria-live="polite"')
        self._shown: dict[str, object] = {}
        ui.timer(UPDATE_SECONDS, self._update)

    def _update(self) -> None:
        feed = self._feed
        if feed.snapshot is None:
            return
        now = int(time.time() * 1000)
        seen = list(reversed(feed.requests.values()))
        self._ring.update(feed, rates(seen, now))
        self._draw_queue((seen and waiting(seen)) or {})
        self._draw_attainment([(one.service_class, one.share, one.ended) for one in attainment(seen, now)])
        self._draw_events()

    def _changed(self, what: str, value: object) -> bool:
        """Whether a part has to be drawn again; one that is as it was keeps its place and its focus."""
        if self._shown.get(what) == value:
            return False
        self._shown[what] = value
        return True

    def _draw_queue(self, queued: Mapping[tuple[str, str], int]) -> None:
        if not self._changed("queue", dict(queued)):
            return
        self._queue.clear()
        with self._queue:
            if not queued:
                ui.label("Nothing waits.").classes("muted")
            most = max(queued.values(), default=1)
            for (service_class, tenant), count in list(queued.items())[:SHOWN_QUEUES]:
                _bar(f"{service_class or 'unknown'} · {tenant}", count / most, f"{count:,}", "queue-meter")

    def _draw_attainment(self, attained: list[tuple[str, float, int]]) -> None:
        if not self._changed("attainment", attained):
            return
        self._attainment.clear()
        with self._attainment:
            if not attained:
                ui.label("No request with a target has ended yet.").classes("muted")
            for service_class, share, ended in attained:
                tone = "good-meter" if share >= ATTAINED else "bad-meter"
                _bar(service_class, share, f"{share:.0%} of {ended:,}", tone)

    def _draw_events(self) -> None:
        events = list(self._feed.events)[:SHOWN_EVENTS]
        if not self._changed("events", events):
            return
        self._events.clear()
        with self._events:
            if not events:
                ui.label("Nothing since this page was opened. What starts, ends and takes over is told here.").classes(
                    "muted"
                )
            for event in events:
                with ui.element("div").classes("event"):
                    ui.label(time.strftime("%H:%M:%S", time.localtime(event.unix_ms / 1000))).classes("when")
                    ui.label(event.text).classes("" if event.tone == "plain" else event.tone)


def _bar(name: str, share: float, amount: str, tone: str) -> None:
    with ui.element("div").classes("barline"):
        ui.label(name)
        with ui.element("div").classes(f"meter {tone}"):
            ui.element("div").style(f"width: {share * 100:.1f}%")
        ui.label(amount).classes("amount muted")


class _Node:
    def __init__(self, who: str) -> None:
        with ui.element("div").classes("node") as self._box:
            ui.label(who).classes("who")
            self._what = ui.label().classes("what")

    def show(self, what: str, *, there: bool) -> None:
        self._what.set_text(what)
        self._box.classes(remove="away") if there else self._box.classes(add="away")


class _Hop:
    def __init__(self, classes: str = "hop") -> None:
        with ui.element("div").classes(classes) as self._box:
            self._rate = ui.label()
            ui.element("div").classes("wire")

    def show(self, rate: float, text: str = "") -> None:
        self._rate.set_text(text or f"{rate:.1f}/s")
        self._box.classes(add="busy") if rate >= QUIET else self._box.classes(remove="busy")


class _Ring:
    """The way of a request, with the rate on every hop."""

    def __init__(self) -> None:
        with ui.element("div").classes("ring"):
            self._gateway = _Node("gateway")
            self._to_classifier = _Hop()
            self._classifier = _Node("classifier")
            self._to_scheduler = _Hop()
            self._scheduler = _Node("scheduler")
            self._to_engines = _Hop()
            self._engines = ui.element("div").classes("engines")
            self._back = _Hop("hop back")
        self._cards: dict[str, _EngineCard] = {}
        with self._engines:
            self._none = empty("No engine is here.", "sage engine start MODEL")

    def update(self, feed: MeshFeed, measured: Rates) -> None:
        """Show the latest poll."""
        snapshot = feed.snapshot
        if snapshot is None:
            return
        counts = Counter(service.service for service in snapshot.services)
        self._gateway.show(_replicas(counts["gateway"]), there=bool(counts["gateway"]))
        away = "none: gateways classify" if not counts["classifier"] else _replicas(counts["classifier"])
        self._classifier.show(away, there=bool(counts["classifier"]))
        lines = [f"{pool.pool}: {pool.leader or 'nobody'} leads, {pool.policy}" for pool in feed.pools]
        queued = sum(pool.queued or 0 for pool in feed.pools)
        text = "\n".join([_replicas(counts["scheduler"]), f"{queued:,} waiting", *lines])
        self._scheduler.show(text, there=bool(counts["scheduler"]) and all(pool.leader for pool in feed.pools))
        self._to_classifier.show(measured.arrived)
        self._to_scheduler.show(measured.arrived)
        self._to_engines.show(sum(measured.placed.values()))
        self._back.show(
            measured.ended, f"{measured.ended:.1f} answers/s · {measured.tokens:,.0f} tokens/s back to the gateway"
        )
        self._draw_engines(feed.engines, measured)

    def _draw_engines(self, engines: tuple[EngineView, ...], measured: Rates) -> None:
        there = {engine.engine_id: engine for engine in engines}
        for gone in self._cards.keys() - there.keys():
            self._cards.pop(gone).remove()
        self._none.set_visibility(not there)
        for engine_id, engine in there.items():
            if engine_id not in self._cards:
                with self._engines:
                    self._cards[engine_id] = _EngineCard(engine)
            self._cards[engine_id].show(engine, measured.placed.get(engine_id, 0.0))


class _EngineCard:
    def __init__(self, engine: EngineView) -> None:
        with ui.element("div").classes("node") as self._box:
            with ui.element("div").classes("row-line"):
                ui.label(engine.name or engine.engine_id).classes("who")
                self._phase = ui.label().classes("chip right")
            self._what = ui.label().classes("what")
            self._load = _Meter("seats")
            self._kv = _Meter("KV")

    def show(self, engine: EngineView, rate: float) -> None:
        state = "draining" if engine.draining else engine.phase
        if engine.phase == "ready" and engine.breaker in ("open", "half_open", "cooling"):
            state = engine.breaker.replace("_", " ")
        good = state == "ready"
        self._phase.set_text(state)
        self._phase.classes(add="good" if good else "bad", remove="bad" if good else "good")
        self._box.classes(remove="away") if engine.phase == "ready" else self._box.classes(add="away")
        reason = engine.reason.partition("\n")[0]
        models = ", ".join(engine.models) or "no models"
        self._what.set_text(f"{models} · {rate:.1f}/s" + (f" · {reason}" if reason and not good else ""))
        seats = narrowed_to(engine) or engine.max_concurrency
        share = engine.outstanding / seats if seats else 0.0
        self._load.show(share, f"{engine.outstanding} of {seats}")
        self._kv.visible(bool(engine.kv_cache_usage))
        self._kv.show(engine.kv_cache_usage, f"{engine.kv_cache_usage:.0%}")

    def remove(self) -> None:
        self._box.delete()


class _Meter:
    def __init__(self, name: str) -> None:
        with ui.element("div").classes("load") as self._box:
            ui.label(name)
            with ui.element("div").classes("meter") as self._meter:
                self._bar = ui.element("div")
            self._amount = ui.label()

    def show(self, share: float, amount: str) -> None:
        self._bar.style(f"width: {min(1.0, share) * 100:.1f}%")
        self._meter.classes(add="full") if share >= 1.0 else self._meter.classes(remove="full")
        self._amount.set_text(amount)

    def visible(self, shown: bool) -> None:
        self._box.set_visibility(shown)


def _replicas(count: int) -> str:
    return "none runs" if not count else "1 process" if count == 1 else f"{count} processes"
