"""``/requests``: the latest requests, live, with filters."""

from __future__ import annotations

from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments
from starlette.requests import Request
from starlette.responses import Response

from sage_studio.pages.frame import UPDATE_SECONDS, empty, frame
from sage_studio.rows import engine_names, row_of
from sage_studio.visit import Visit, Visits

# The first rows go in parts, so that the page answers between them.
ROWS_AT_ONCE = 1000
MILLISECONDS = (
    "p => p.value == null ? '' : p.value < 10 ? p.value.toFixed(1) + ' ms'"
    " : p.value < 1000 ? Math.round(p.value) + ' ms' : (p.value / 1000).toFixed(p.value < 10000 ? 2 : 1) + ' s'"
)
CLOCK = "p => new Date(p.value).toLocaleTimeString('en-GB')"
# Fewer columns where there is no room for more.
NARROW = "window.innerWidth < 760"
STATE_RULES = {
    "s-queued": "x === 'queued'",
    "s-running": "x === 'running'",
    "s-finished": "x === 'finished'",
    "s-bad": "['failed', 'refused', 'lost'].includes(x)",
    "s-ended": "x === 'cancelled'",
}
STATES = {
    "all": (),
    "open": ("queued", "running"),
    "finished": ("finished",),
    "failed": ("failed", "refused", "lost", "cancelled"),
}


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page("/requests")
    async def requests_page(request: Request) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, "/requests", "Requests"):
            _RequestsPage(visit)
        return None


class _RequestsPage:
    def __init__(self, visit: Visit) -> None:
        self._feed = visit.access.feed
        self._shown: dict[str, int] = {}
        self._version = 0
        self._ready = False
        self._selected: list[str] = []
        with ui.element("div").classes("filters"):
            search = ui.input("Search model, tenant, engine, id …").props("dense outlined clearable")
            search.classes("search").props('aria-label="Search"')
            search.on_value_change(lambda event: self._search(str(event.value or "")))
            states = ui.toggle(list(STATES), value="all").props("no-caps dense unelevated toggle-color=primary")
            states.on_value_change(lambda event: self._filter(str(event.value)))
            self._count = ui.label().classes("muted right")
            self._compare = ui.button("Compare", on_click=self._open_both).props("flat dense no-caps")
            self._compare.set_visibility(False)
        self._empty = empty("No request has come yet. Ask something:", 'sage chat "Hello"')
        self._grid = ui.aggrid(_options(), auto_size_columns=False).classes("grid")
        self._grid.on("gridReady", self._on_ready)
        self._grid.on("cellClicked", self._on_cell)
        self._grid.on("cellKeyDown", self._on_cell, js_handler=_ENTER)
        self._grid.on("selectionChanged", self._on_selection)
        ui.timer(UPDATE_SECONDS, self._update)

    def _on_ready(self) -> None:
        # A grid that is made again, after the connection was lost, is empty.
        self._ready = True
        self._shown.clear()
        self._version = 0
        self._update()

    def _update(self) -> None:
        count = len(self._feed.requests)
        self._empty.set_visibility(not count and self._feed.version > 0)
        self._grid.set_visibility(bool(count))
        self._count.set_text(f"{count:,} requests" if count else "")
        if not self._ready or self._version == self._feed.version:
            return
        names = engine_names(self._feed.engines)
        changed = list(self._feed.changed_since(self._version))
        self._version = self._feed.version
        added = [row_of(seen, names) for seen in changed if seen.view.request_id not in self._shown]
        updated = [row_of(seen, names) for seen in changed if seen.view.request_id in self._shown]
        self._shown.update((seen.view.request_id, seen.version) for seen in changed)
        gone = [request_id for request_id in self._shown if request_id not in self._feed.requests]
        for request_id in gone:
            del self._shown[request_id]
        for start in range(0, len(added), ROWS_AT_ONCE):
            self._grid.run_grid_method("applyTransactionAsync", {"add": added[start : start + ROWS_AT_ONCE]})
        if updated or gone:
            change = {"update": updated, "remove": [{"id": request_id} for request_id in gone]}
            self._grid.run_grid_method("applyTransactionAsync", change)

    def _search(self, text: str) -> None:
        self._grid.run_grid_method("setGridOption", "quickFilterText", text)

    def _filter(self, name: str) -> None:
        conditions = [{"filterType": "text", "type": "equals", "filter": state} for state in STATES[name]]
        wanted: dict[str, Any] | None = None
        if conditions:
            one = {"filterType": "text", "operator": "OR", "conditions": conditions}
            wanted = {"state": conditions[0] if len(conditions) == 1 else one}
        self._grid.run_grid_method("setFilterModel", wanted)

    def _on_cell(self, event: GenericEventArguments) -> None:
        data = event.args.get("data")
        if data and event.args.get("colId") != "ag-Grid-SelectionColumn":
            ui.navigate.to(f"/requests/{data['id']}")

    async def _on_selection(self) -> None:
        rows = await self._grid.get_selected_rows()
        self._selected = [str(row["id"]) for row in rows]
        self._compare.set_visibility(len(self._selected) == 2)

    def _open_both(self) -> None:
        one, other = self._selected
        ui.navigate.to(f"/requests/{one}?with={other}")


_ENTER = "(event) => event.event?.key === 'Enter' && emit({data: event.data, colId: event.column?.colId})"


def _options() -> dict[str, Any]:
    def column(field: str, name: str, width: int, **more: Any) -> dict[str, Any]:
        return {"field": field, "headerName": name, "width": width, **more}

    def time(field: str, name: str) -> dict[str, Any]:
        return column(field, name, 84, **{":valueFormatter": MILLISECONDS, "type": "rightAligned"})

    wide = {":hide": NARROW}
    return {
        "columnDefs": [
            column("at", "time", 98, **{":valueFormatter": CLOCK, "sort": "desc"}),
            column("state", "state", 92, cellClassRules=STATE_RULES, filter="agTextColumnFilter"),
            column("model", "model", 150, flex=1, minWidth=96),
            column("class", "class", 104, **wide),
            column("tenant", "tenant", 92, **wide),
            column("engine", "engine", 120, flex=1, minWidth=120, **wide),
            time("queue", "queued") | wide,
            time("ttft", "TTFT") | wide,
            time("tpot", "TPOT") | wide,
            time("total", "total"),
            column("tokens", "tokens", 76, type="rightAligned", **wide),
            column("targets", "targets", 80, cellClassRules={"s-bad": "x === 'missed'"}, **wide),
            column("own_id", "own id", 120, hide=True),
            column("id", "id", 120, hide=True, **{":getQuickFilterText": "p => p.value"}),
        ],
        "defaultColDef": {"sortable": True, "resizable": True, "suppressHeaderMenuButton": True},
        "rowData": [],
        "rowSelection": {"mode": "multiRow", "checkboxes": True, "headerCheckbox": False},
        "selectionColumnDef": {"width": 44} | wide,
        "includeHiddenColumnsInQuickFilter": True,
        "animateRows": False,
        "asyncTransactionWaitMillis": 60,
        "deltaSort": True,
        "suppressCellFocus": False,
        ":getRowId": "p => p.data.id",
        "overlayNoRowsTemplate": "No request matches.",
    }
