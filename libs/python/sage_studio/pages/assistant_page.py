"""``/apps/assistant``: a conversation about the documents of a knowledge base."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from nicegui import ui
from starlette.requests import Request
from starlette.responses import Response

from sage_apps.assistant.assistant import (
    AnswerPiece,
    AssistantOptions,
    DocumentAssistant,
    QuestionTaken,
    SourcesFound,
    TurnEnded,
)
from sage_apps.assistant.conversation import AssistantConversation
from sage_apps.assistant.rewriting import ByRules
from sage_apps.assistant.sample import keep_sample, sample_is_whole
from sage_apps.client_models import answering_model
from sage_client.knowledge.knowledge_views import PassageView
from sage_common.errors import SageError
from sage_control_plane.request.request import RequestKind
from sage_studio.highlight import highlighted
from sage_studio.pages.applications_page import PATH
from sage_studio.pages.frame import ERROR_MS, frame, say_failures
from sage_studio.visit import Visit, Visits


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page(f"{PATH}/assistant")
    async def assistant_page(request: Request) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, PATH, "Document assistant"):
            await _AssistantPage(visit).load()
        return None


class _AssistantPage:
    def __init__(self, visit: Visit) -> None:
        self._access = visit.access
        self._conversation = AssistantConversation()
        self._running: asyncio.Task[None] | None = None
        with ui.element("div").classes("params"):
            self._base = ui.select([], label="Knowledge base", on_change=self._clear).props("dense outlined")
            self._base.classes("policy").style("min-width: 230px")
            self._model = ui.select([], label="Answered by").props("dense outlined").classes("policy")
            self._sample = ui.button("Add a library's handbook", icon="library_add", on_click=self._keep_sample)
            self._sample.props("no-caps flat")
        with ui.element("section").classes("card"):
            self._talk = ui.element("div").classes("talk turns").props('role="log" aria-live="polite"')
        with ui.element("div").classes("ask"):
            self._text = ui.input("Ask about the documents, then go on asking").props(
                'dense outlined autofocus aria-label="Question"'
            )
            self._text.classes("text").on("keydown.enter", self._send_or_stop)
            self._button = ui.button("Ask", icon="send", on_click=self._send_or_stop).props("no-caps unelevated")
            over = ui.button(icon="delete_sweep", on_click=self._clear).props("flat round dense")
            over.props('aria-label="Start over" title="Start over"')
        # Whoever leaves the page wants no more of its answers.
        ui.context.client.on_delete(self._stop)

    async def load(self) -> None:
        """Fill the lists of knowledge bases and of models that may answer."""
        try:
            await self._list_bases()
            models = await self._access.client.models()
        except SageError as error:
            self._fail(error)
            return
        names = [one.id for one in models if RequestKind.LLM_CHAT in one.kinds]
        chosen = answering_model(models)
        self._model.set_options(names, value=chosen if chosen in names else names[0] if names else None)

    async def _list_bases(self, chosen: str = "") -> None:
        bases = [one.name for one in await self._access.knowledge.list_bases()]
        self._base.set_options(bases, value=chosen or (bases[0] if bases else None))
        self._sample.set_visibility(not await sample_is_whole(self._access.knowledge))

    async def _keep_sample(self) -> None:
        self._sample.disable()
        try:
            await self._list_bases(await keep_sample(self._access.knowledge))
        except SageError as error:
            self._fail(error)
        finally:
            self._sample.enable()

    def _fail(self, error: SageError) -> None:
        ui.notify(error.message, type="negative", multi_line=True, timeout=ERROR_MS, close_button="Close")

    def _clear(self) -> None:
        self._stop()
        # An answer that is stopped is remembered where it was asked, after this.
        self._conversation = AssistantConversation()
        self._talk.clear()

    def _stop(self) -> None:
        if self._running is not None:
            self._running.cancel()

    async def _send_or_stop(self) -> None:
        asked = str(self._text.value or "").strip()
        if self._running is not None:
            self._stop()
        elif asked and not self._base.value:
            ui.notify("Choose a knowledge base first, or add the library's handbook", type="warning")
        elif asked:
            await self._send(asked)

    async def _send(self, asked: str) -> None:
        self._text.set_value("")
        self._button.set_text("Stop").set_icon("stop")
        self._running = asyncio.get_running_loop().create_task(self._answer(asked))
        try:
            ended = await asyncio.gather(self._running, return_exceptions=True)
        finally:
            self._running = None
            self._button.set_text("Ask").set_icon("send")
        say_failures(ended)

    async def _answer(self, asked: str) -> None:
        options = AssistantOptions(model=self._model.value)
        access = self._access
        assistant = DocumentAssistant(access.knowledge, access.client, str(self._base.value), ByRules(), options)
        with self._talk:
            ui.label(asked).classes("said user")
            searched = ui.label().classes("measured")
            said = ui.label("…").classes("said")
            below = ui.element("div").classes("found")
        text = ""
        sources: tuple[PassageView, ...] = ()
        try:
            async with aclosing(assistant.ask(asked, self._conversation)) as events:
                async for event in events:
                    if isinstance(event, QuestionTaken) and event.question != asked:
                        searched.set_text(f"searched: {event.question}")
                    elif isinstance(event, SourcesFound):
                        sources = event.sources
                    elif isinstance(event, AnswerPiece):
                        text += event.text
                        said.set_text(text)
                    elif isinstance(event, TurnEnded):
                        searched.set_text(" · ".join(filter(None, (searched.text, event.turn.model))))
        except SageError as error:
            said.classes("bad").set_text(f"{text}\n{error.message}".strip())
        finally:
            if said.text == "…":
                said.set_text("stopped")
        with below:
            _show_sources(sources, text)
            ui.run_javascript("document.querySelector('.turns').scrollTo(0, 1e9)")


def _show_sources(sources: tuple[PassageView, ...], answer: str) -> None:
    for number, one in enumerate(sources, start=1):
        with ui.expansion().props("dense").classes("source") as opened:
            with opened.add_slot("header"):
                ui.label(f"[{number}] {one.place}").classes("who")
                ui.label(one.heading).classes("muted")
            with ui.element("p").classes("text"):
                for piece in highlighted(one.text, answer):
                    with ui.element("mark" if piece.used else "span"):
                        ui.label(piece.text).classes("inline")
