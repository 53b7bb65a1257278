"""``/knowledge``: the knowledge bases, and a new one."""

from __future__ import annotations

from functools import partial

from nicegui import ui
from starlette.requests import Request
from starlette.responses import Response

from sage_client.knowledge.knowledge_views import KnowledgeBaseView
from sage_common.errors import SageError
from sage_studio.pages.engine_dialogs import confirm
from sage_studio.pages.frame import empty, frame, give_order, icon_button
from sage_studio.visit import Visit, Visits


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page("/knowledge")
    async def knowledge_page(request: Request) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, "/knowledge", "Knowledge"):
            await _KnowledgePage(visit).update()
        return None


class _KnowledgePage:
    def __init__(self, visit: Visit) -> None:
        self._api = visit.access.knowledge
        with ui.element("div").classes("row-line").style("margin-bottom: 14px"):
            self._name = ui.input("Name of a new collection").props('dense outlined aria-label="Name"')
            self._name.on("keydown.enter", self._create)
            ui.button("Create", icon="add", on_click=self._create).props("no-caps unelevated")
        self._list = ui.element("div").classes("cards").style("margin-top: 0")

    async def update(self) -> None:
        """Draw the list."""
        try:
            bases = await self._api.list_bases()
        except SageError as error:
            self._list.clear()
            with self._list:
                ui.label(error.message).classes("problem").props('role="alert"')
            return
        self._list.clear()
        with self._list:
            if not bases:
                empty("No collection is kept yet. Create one above, or:", "sage kb create NAME")
            for base in bases:
                self._card(base)

    def _card(self, base: KnowledgeBaseView) -> None:
        with ui.element("section").classes("card engine"):
            with ui.element("div").classes("row-line"):
                ui.link(base.name, f"/knowledge/{base.name}").classes("who")
                icon_button("delete", f"Drop {base.name}", partial(self._drop, base.name)).classes("right")
            ui.label(f"{base.documents:,} documents · {base.passages:,} passages").classes("muted")
            ui.label(base.embedding_model or "no vectors yet").classes("muted")

    async def _create(self) -> None:
        name = (self._name.value or "").strip()
        if await give_order(self._api.create(name), f"{name} is there; give it documents"):
            ui.navigate.to(f"/knowledge/{name}")

    async def _drop(self, name: str) -> None:
        if await confirm(f"Drop {name} with all its documents?", "Drop"):
            await give_order(self._api.drop(name), f"{name} is dropped")
            await self.update()
