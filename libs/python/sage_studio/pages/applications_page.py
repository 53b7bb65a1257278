"""``/apps``: the applications that come with SAGE, each with a page of its own."""

from __future__ import annotations

from nicegui import ui
from starlette.requests import Request
from starlette.responses import Response

from sage_apps.catalogue import APPLICATIONS
from sage_studio.pages.frame import frame
from sage_studio.visit import Visits

PATH = "/apps"


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page(PATH)
    async def applications_page(request: Request) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, PATH, "Applications"), ui.element("div").classes("cards").style("margin-top: 0"):
            for one in APPLICATIONS:
                with ui.element("section").classes("card engine"):
                    with ui.element("div").classes("row-line"):
                        ui.icon(one.icon).props('aria-hidden="true"')
                        ui.link(one.title, f"{PATH}/{one.name}").classes("who")
                    ui.label(one.summary).classes("muted")
                    ui.label(f"sage app {one.name}").classes("muted mono")
        return None
