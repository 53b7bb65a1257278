"""``/engines``: the engines with what can be done about each, and the policy of each pool."""

from __future__ import annotations

from functools import partial

from nicegui import ui
from nicegui.events import ValueChangeEventArguments
from starlette.requests import Request
from starlette.responses import Response

from sage_client.management.engine_cap import narrowed_to
from sage_client.management.views import EngineView
from sage_common.errors import SageError
from sage_studio.access import Access
from sage_studio.pages.engine_dialogs import adapters_dialog, confirm, logs_dialog, start_dialog
from sage_studio.pages.frame import UPDATE_SECONDS, empty, frame, give_order
from sage_studio.pages.policy_dialog import policy_dialog
from sage_studio.visit import Visit, Visits

# Kinds of engines whose servers SAGE starts, and so restarts and has the logs of.
OWN_SERVERS = frozenset({"vllm", "llamacpp"})
# Polls that may show the policy from before an order.
UNDER_WAY = 3
WITH_ADAPTERS = frozenset({"vllm"})


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page("/engines")
    async def engines_page(request: Request) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, "/engines", "Engines"):
            _EnginesPage(visit)
        return None


class _EnginesPage:
    def __init__(self, visit: Visit) -> None:
        self._access = visit.access
        self._cards: dict[str, _Card] = {}
        self._pools: dict[str, ui.select] = {}
        self._ordered: dict[str, int] = {}
        self._known: dict[str, object] = {}
        with ui.element("div").classes("row-line").style("margin-bottom: 14px"):
            ui.button("Start an engine", icon="add", on_click=lambda: start_dialog(self._access)).props(
                "no-caps unelevated"
            )
            self._policies = ui.element("div").classes("row-line right")
        self._empty = empty("No engine is here.", "sage engine start MODEL", "sage up --llm URL")
        self._list = ui.element("div").classes("cards").style("margin-top: 0")
        ui.timer(UPDATE_SECONDS, self._update)

    async def _update(self) -> None:
        feed = self._access.feed
        if feed.snapshot is None:
            return
        there = {engine.engine_id: engine for engine in feed.engines}
        self._empty.set_visibility(not there)
        for gone in self._cards.keys() - there.keys():
            self._cards.pop(gone).box.delete()
        for engine_id, engine in there.items():
            if engine_id not in self._cards:
                with self._list:
                    self._cards[engine_id] = _Card(self._access, engine)
            self._cards[engine_id].show(engine)
        for pool in feed.pools:
            if pool.pool not in self._pools:
                await self._add_policy(pool.pool)
            select = self._pools.get(pool.pool)
            # What was just ordered is not taken back by a poll that was under way.
            if select is not None and feed.version > self._ordered.get(pool.pool, 0):
                self._known[pool.pool] = pool.policy
                select.set_value(pool.policy)

    async def _add_policy(self, pool: str) -> None:
        try:
            found = await self._access.management.policy(pool)
        except SageError:
            # The frame tells what is wrong; the next update asks again.
            return
        with self._policies:
            select = ui.select(list(found.available), value=found.policy, label=f"Policy of {pool}")
            select.props("dense outlined").classes("policy")
            select.on_value_change(partial(self._set_policy, pool))
            tune = ui.button(icon="tune", on_click=partial(policy_dialog, self._access, pool)).props("flat round dense")
            # A name that others give: a value, not text of the properties.
            tune.props["aria-label"] = tune.props["title"] = f"Settings of the policy of {pool}"
        self._known[pool] = found.policy
        self._pools[pool] = select

    async def _set_policy(self, pool: str, event: ValueChangeEventArguments[str]) -> None:
        # The page has set it itself, to what is in force.
        if event.value == self._known.get(pool):
            return
        self._known[pool] = event.value
        self._ordered[pool] = self._access.feed.version + UNDER_WAY
        await give_order(
            self._access.management.set_policy(str(event.value), pool), f"{pool} is scheduled by {event.value}"
        )


class _Card:
    def __init__(self, access: Access, engine: EngineView) -> None:
        self._access = access
        self._engine = engine
        own = engine.implementation in OWN_SERVERS
        with ui.element("section").classes("card engine") as self.box:
            with ui.element("div").classes("row-line"):
                ui.label(engine.name or engine.engine_id).classes("who")
                self._state = ui.label().classes("chip right")
            self._models = ui.label().classes("muted")
            self._reason = ui.label().classes("bad")
            self._seats = ui.label().classes("muted")
            with ui.element("div").classes("row-line actions"):
                self._drain = ui.button(on_click=self._turn_drain).props("flat dense no-caps")
                if own:
                    ui.button("Restart", on_click=self._restart).props("flat dense no-caps")
                    ui.button("Logs", on_click=lambda: logs_dialog(access, self._engine)).props("flat dense no-caps")
                if engine.implementation in WITH_ADAPTERS:
                    ui.button("Adapters", on_click=lambda: adapters_dialog(access, self._engine)).props(
                        "flat dense no-caps"
                    )
                ui.button("Remove", on_click=self._remove).props("flat dense no-caps color=negative")

    @property
    def _name(self) -> str:
        return self._engine.name or self._engine.engine_id

    def show(self, engine: EngineView) -> None:
        """Show an engine as it is now."""
        self._engine = engine
        state = "draining" if engine.draining else engine.phase
        good = state == "ready"
        self._state.set_text(state)
        self._state.classes(add="good" if good else "bad", remove="bad" if good else "good")
        self._models.set_text(f"{engine.implementation} · {', '.join(engine.models) or 'no models yet'}")
        self._reason.set_text("" if good else engine.reason.partition("\n")[0])
        kv = f" · KV cache {engine.kv_cache_usage:.0%}" if engine.kv_cache_usage else ""
        seats = f"{engine.outstanding} of {engine.max_concurrency} seats"
        if (cap := narrowed_to(engine)) is not None:
            seats = f"{engine.outstanding} of {cap} seats now, {engine.max_concurrency} at most"
        self._seats.set_text(f"{seats} · {engine.waiting} wait inside{kv}")
        self._drain.set_text("Allow work" if engine.draining else "Drain")

    async def _turn_drain(self) -> None:
        undo = self._engine.draining
        said = f"{self._name} {'gets work again' if undo else 'gets no new work'}"
        await give_order(self._access.management.drain_engine(self._engine.engine_id, undo=undo), said)

    async def _restart(self) -> None:
        if await confirm(f"Restart {self._name}? It takes no new work, its requests end first.", "Restart"):
            await give_order(
                self._access.management.restart_engine(self._engine.engine_id), f"{self._name} starts again"
            )

    async def _remove(self) -> None:
        if await confirm(f"Remove {self._name} for good? Its requests end first.", "Remove"):
            await give_order(self._access.management.remove_engine(self._engine.engine_id), f"{self._name} is removed")
