"""``/what-if``: the last hour played again under another policy or two, with other engines or targets."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from nicegui import ui
from starlette.requests import Request
from starlette.responses import Response

from sage_client.management.views import PolicyInForce
from sage_common.errors import SageError
from sage_studio.pages.frame import empty, frame
from sage_studio.simulation_process import Simulations
from sage_studio.usage_chart import COLOURS, GREY
from sage_studio.visit import Visit, Visits
from sage_studio.what_if import HOUR_SECONDS, STEPS, Change, Played, Recording, happened, recording

MOST_ENGINES = 64
# An hour of thousands of requests takes seconds; what takes longer is more than one process should do for a page.
PLAY_SECONDS = 120.0


def register(visits: Visits) -> None:
    """Add the page."""
    simulations = Simulations()

    @ui.page("/what-if")
    async def what_if_page(request: Request) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, "/what-if", "What if"):
            _WhatIf(visit, simulations)
        return None


class _WhatIf:
    def __init__(self, visit: Visit, simulations: Simulations) -> None:
        self._access = visit.access
        self._simulations = simulations
        ui.label(
            "The requests of the last hour, at most the latest 10,000, are played again in the simulator, by their "
            "times and lengths alone. Its engines are as fast as these requests show. The policy in "
            "force is played with its settings, another with its defaults. Two policies get the same arrivals."
        ).classes("muted").style("margin-bottom: 14px")
        with ui.element("section").classes("card"):
            with ui.element("div").classes("params").style("margin: 0"):
                self._pool = ui.select([], label="Pool").props("dense outlined")
                self._pool.on_value_change(self._on_pool)
                self._policy = ui.select([], label="Policy").props("dense outlined").classes("policy")
                self._second = ui.select([], label="Beside it").props("dense outlined clearable").classes("policy")
                self._engines = ui.number("Engines", min=1, max=MOST_ENGINES, precision=0).props("dense outlined")
                self._ttft = ui.number("Interactive TTFT target, ms", min=1, precision=0)
                self._ttft.props("dense outlined clearable").classes("target-field")
                self._button = ui.button("Play", icon="play_arrow", on_click=self._play).props("no-caps unelevated")
        self._result = ui.element("section").classes("card").style("margin-top: 14px")
        self._result.set_visibility(False)
        self._in_force: PolicyInForce | None = None
        self._playing: asyncio.Task[list[Played]] | None = None
        self._start = ui.timer(0.5, self._fill)
        # Whoever leaves the page waits for nothing any more.
        ui.context.client.on_delete(self._stop)

    def _stop(self) -> None:
        if self._playing is not None:
            self._playing.cancel()

    async def _fill(self) -> None:
        pools = self._access.feed.pools
        if not pools:
            return
        self._start.deactivate()
        # The one with the most to play.
        by_work = sorted(pools, key=lambda pool: -(pool.dispatched or 0))
        self._pool.set_options([pool.pool for pool in by_work], value=by_work[0].pool)

    async def _on_pool(self) -> None:
        try:
            policy = await self._access.management.policy(str(self._pool.value))
        except SageError as error:
            ui.notify(error.message, type="negative")
            return
        self._in_force = policy
        self._policy.set_options(list(policy.available), value=policy.policy)
        self._second.set_options(list(policy.available), value=None)
        recorded = self._recorded()
        if isinstance(recorded, Recording):
            self._engines.set_value(recorded.engines)

    def _recorded(self) -> Recording | str:
        feed, pool = self._access.feed, str(self._pool.value or "")
        policy = next((one.policy for one in feed.pools if one.pool == pool), "")
        in_force = self._in_force
        is_known = in_force is not None and in_force.policy == policy
        settings = {one.name: one.value for one in in_force.settings} if in_force and is_known else {}
        return recording(feed.requests.values(), feed.engines, pool, policy, int(time.time() * 1000), settings)

    async def _play(self) -> None:
        recorded = self._recorded()
        self._result.clear()
        self._result.set_visibility(True)
        if isinstance(recorded, str):
            with self._result:
                empty(f"{recorded}.", 'sage chat "Hello"')
            return
        changes = self._changes(recorded)
        self._button.disable()
        with self._result:
            ui.spinner()
        playing = self._simulations.played(recorded, list(changes.values()), PLAY_SECONDS)
        self._playing = asyncio.get_running_loop().create_task(playing)
        try:
            found = await self._playing
        except SageError as error:
            self._result.clear()
            with self._result:
                empty(f"{error.message[:1].upper()}{error.message[1:]}.")
            return
        finally:
            self._playing = None
            self._button.enable()
        self._show(recorded, [("as it happened", happened(recorded)), *zip(changes, found, strict=True)])

    def _changes(self, recorded: Recording) -> dict[str, Change]:
        """Return what is to be played, by the heading of its column."""
        # Bounds of a field are kept by the browser alone.
        most = max(MOST_ENGINES, recorded.engines)
        engines = min(most, max(1, int(self._engines.value or recorded.engines)))
        ttft = max(1, int(self._ttft.value)) if self._ttft.value else None
        first = str(self._policy.value)
        changes = {"simulated as it was": Change(recorded.policy, recorded.engines)}
        second = str(self._second.value or first)
        if second == first:
            return {**changes, "what if": Change(first, engines, ttft)}
        return {**changes, **{f"what if {policy}": Change(policy, engines, ttft) for policy in (first, second)}}

    def _show(self, recorded: Recording, played: list[tuple[str, Played]]) -> None:
        self._result.clear()
        with self._result:
            pace = f"{recorded.engine.prefill_tokens_per_second:,.0f} prompt tokens/s, "
            pace += f"{recorded.engine.step_base_seconds * 1000:.1f} ms a token, {recorded.engine.max_num_seqs} seats"
            count = f"{len(recorded.arrivals):,} requests on {recorded.engines} engines"
            ui.label(f"{count} with {pace}").classes("section")
            with ui.element("table").classes("verdicts"):
                _row("", [name for name, _ in played], head=True)
                classes = sorted({name for _, one in played for name in one.attainment})
                for name in classes:
                    _row(f"{name}: targets kept", [_share(one, name) for _, one in played])
                _row("TTFT, 95th percentile", [_ms(one.ttft_p95_ms) for _, one in played])
                _row("queued, 95th percentile", [_ms(one.queue_p95_ms) for _, one in played])
                _row("refused or failed", [f"{one.refused:,}" for _, one in played])
            if any(any(one.waiting) for _, one in played):
                ui.label("Requests that waited, over the hour").classes("section").style("margin-top: 18px")
                ui.echart(_waiting_options(played)).classes("chart")


def _row(name: str, values: list[str], *, head: bool = False) -> None:
    with ui.element("tr"):
        with ui.element("th"):
            ui.label(name)
        for value in values:
            with ui.element("th" if head else "td").style("text-align: right"):
                ui.label(value)


def _share(played: Played, name: str) -> str:
    share = played.attainment.get(name)
    return "—" if share is None else f"{share[0]:.1%}"


def _ms(value: float | None) -> str:
    return "—" if value is None else f"{value:,.0f} ms"


def _waiting_options(played: list[tuple[str, Played]]) -> dict[str, Any]:
    minutes = int(HOUR_SECONDS / 60)
    return {
        "animation": False,
        "color": [GREY, *COLOURS],
        "grid": {"left": 8, "right": 8, "top": 36, "bottom": 8, "containLabel": True},
        "legend": {"top": 0, "left": 0, "textStyle": {"color": GREY}},
        "tooltip": {"trigger": "axis"},
        "xAxis": {
            "type": "category",
            "data": [f"-{minutes - number * minutes // STEPS} min" for number in range(STEPS)],
            "axisLabel": {"color": GREY},
        },
        "yAxis": {"type": "value", "axisLabel": {"color": GREY}, "splitLine": {"lineStyle": {"opacity": 0.25}}},
        "series": [
            {"name": name, "type": "line", "showSymbol": False, "data": list(one.waiting)} for name, one in played
        ],
    }
