"""What every page has: the way to the others, the state of the mesh, and light or dark."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from nicegui import ui

from sage_common.errors import SageError
from sage_common.logging import get_logger
from sage_studio.visit import THEME_COOKIE, Visit

log = get_logger(__name__)

UPDATE_SECONDS = 1.0
# Long enough to read a sentence that says what to do.
ERROR_MS = 15_000
YEAR_SECONDS = 365 * 24 * 3600
PAGES = (
    ("/", "Mesh", "hub"),
    ("/requests", "Requests", "view_timeline"),
    ("/playground", "Playground", "chat"),
    ("/engines", "Engines", "memory"),
    ("/tenants", "Tenants", "group"),
    ("/knowledge", "Knowledge", "menu_book"),
    ("/pipelines", "Pipelines", "account_tree"),
    ("/apps", "Applications", "apps"),
    ("/what-if", "What if", "alt_route"),
)
_THEMES = ((None, "auto", "brightness_auto"), (True, "dark", "dark_mode"), (False, "light", "light_mode"))


@contextmanager
def frame(visit: Visit, current: str, title: str) -> Iterator[None]:
    """Build the frame around a page.

    Args:
        current: path of the entry to mark.
        title: heading of the page.
    """
    ui.add_head_html('<link rel="stylesheet" href="/studio.css">')
    ui.page_title(f"{title} · SAGE")
    ui.colors(primary="#3a5bd9", positive="#1a8a55", negative="#c93b3b", warning="#b3741a")
    with ui.element("div").classes("studio"):
        with ui.element("a").props('href="#main"').classes("skip"):
            ui.label("To the content")
        with ui.element("header").classes("bar"):
            with ui.link(target="/").classes("brand"):
                ui.label("SAGE")
            with ui.element("nav").props('aria-label="Pages"'):
                for path, name, icon in PAGES:
                    with ui.link(target=path).classes("entry") as entry:
                        ui.icon(icon).props('aria-hidden="true"')
                        ui.label(name)
                    if path == current:
                        entry.classes("current").props('aria-current="page"')
            with ui.element("div").classes("tail"):
                state = ui.label("…").classes("chip").props('role="status"').mark("state")
                _theme_button(visit.dark)
                if visit.signed_in:
                    with ui.element("form").props('method="post" action="/leave"'):
                        with ui.element("button").classes("plain").props('type="submit" title="Forget my key"'):
                            ui.icon("logout")
        # The framework's own element around everything is the page's main one.
        with ui.element("div").classes("content").props('id="main" tabindex="-1"'):
            ui.label(title).classes("title").props('role="heading" aria-level="1"')
            problem = ui.label().classes("problem").props('role="alert"')
            problem.set_visibility(False)
            yield
    host = urlsplit(visit.access.target).netloc
    feed = visit.access.feed

    def update() -> None:
        if visit.is_over:
            ui.navigate.to("/key")
            return
        if visit.has_moved:
            ui.navigate.reload()
            return
        feed.watch()
        problem.set_text(feed.problem)
        problem.set_visibility(bool(feed.problem))
        if feed.problem:
            state.set_text(f"{host} away").classes(add="bad", remove="good")
        elif feed.snapshot is not None:
            ready = sum(engine.phase == "ready" for engine in feed.engines)
            text = f"{ready} engine{'' if ready == 1 else 's'} ready" if ready else "no engine ready"
            state.set_text(text).classes(add="good" if ready else "bad", remove="bad" if ready else "good")

    update()
    ui.timer(UPDATE_SECONDS, update)
    # Where there is no room for all entries, the current one is in view.
    ui.run_javascript("document.querySelector('.entry.current')?.scrollIntoView({inline: 'center', block: 'nearest'})")


def _theme_button(dark: bool | None) -> None:
    mode = ui.dark_mode(dark)
    button = ui.button().props("flat round dense size=sm").classes("theme")
    position = next(number for number, (value, _, _) in enumerate(_THEMES) if value is dark)

    def show() -> None:
        _, name, icon = _THEMES[position]
        button.set_icon(icon)
        button.props["aria-label"] = button.props["title"] = f"Colours: {name}"

    def turn() -> None:
        nonlocal position
        position = (position + 1) % len(_THEMES)
        value, name, _ = _THEMES[position]
        mode.set_value(value)
        ui.run_javascript(f'document.cookie = "{THEME_COOKIE}={name}; path=/; max-age={YEAR_SECONDS}; samesite=strict"')
        show()

    button.on_click(turn)
    show()


def empty(text: str, *commands: str) -> ui.element:
    """Build an empty state: what is not there yet, and what to do about it."""
    with ui.element("div").classes("empty") as box:
        ui.label(text)
        for command in commands:
            ui.label(command).classes("command")
    return box


def icon_button(icon: str, name: str, on_click: Callable[[], object]) -> ui.button:
    """Build a small button that has a name for those who do not see its icon."""
    button = ui.button(icon=icon, on_click=on_click).props("flat round dense size=sm")
    # Not through the text of props(): a name with a quotation mark would end there and begin properties of its own,
    # and those whose names begin with a colon are run as scripts.
    button.props["aria-label"] = name
    return button


async def give_order(order: Awaitable[object], done: str) -> bool:
    """Await an order, say what came of it in the words of the API, and return whether it was carried out."""
    try:
        await order
    except SageError as error:
        ui.notify(error.message, type="negative", multi_line=True, timeout=ERROR_MS, close_button="Close")
        return False
    ui.notify(done, type="positive")
    return True


def say_failures(results: Iterable[object]) -> None:
    """Log and show what tasks of a page failed with, of what ``gather(return_exceptions=True)`` returned.

    A task that was stopped has not failed.
    """
    for failed in results:
        if isinstance(failed, BaseException) and not isinstance(failed, asyncio.CancelledError):
            log.error("a page failed", exc_info=failed)
            ui.notify(f"The answer cannot be shown ({failed!r}); ask again", type="negative", timeout=ERROR_MS)
