"""``/playground``: chat with a model, or two beside each other, and take the request along as code; see vector_tabs."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from nicegui import ui
from starlette.requests import Request
from starlette.responses import Response

from sage_common.errors import SageError
from sage_control_plane.request.request import RequestKind
from sage_studio.answer import StreamedAnswer
from sage_studio.pages.frame import frame, say_failures
from sage_studio.pages.vector_tabs import EmbeddingTab, RerankTab, models_for
from sage_studio.snippets import as_curl, as_openai, as_sage
from sage_studio.visit import Visit, Visits

# Text is shown so often; each piece by itself would be a message to the browser.
SHOW_SECONDS = 0.06
MOST_SIDES = 2
QUOTING = "sage-extractive"
CHAT_PATH = "/v1/chat/completions"


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page("/playground")
    async def playground_page(request: Request) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, "/playground", "Playground"):
            with ui.tabs().props("dense no-caps align=left inline-label").classes("kinds") as tabs:
                chat, embeddings, rerank = (ui.tab(name) for name in ("Chat", "Embeddings", "Rerank"))
            with ui.tab_panels(tabs, value=chat).classes("panels"):
                with ui.tab_panel(chat):
                    page = _Playground(visit)
                with ui.tab_panel(embeddings):
                    alike = EmbeddingTab(visit.access)
                with ui.tab_panel(rerank):
                    ordered = RerankTab(visit.access)
            await page.load_models()
            for tab, kind in ((alike, RequestKind.EMBEDDING), (ordered, RequestKind.RERANK)):
                names = await models_for(visit.access, kind)
                tab.model.set_options(names, value=names[0] if names else None)
        return None


class _Playground:
    def __init__(self, visit: Visit) -> None:
        self._access = visit.access
        self._models: list[str] = []
        self._running: list[asyncio.Task[None]] = []
        with ui.element("div").classes("params"):
            self._system = ui.input("System prompt").props("dense outlined").classes("system")
            self._temperature = ui.number("Temperature", value=0.7, min=0, step=0.1).props("dense outlined")
            self._max_tokens = ui.number("Max tokens", value=256, min=1, precision=0).props("dense outlined")
            self._second = ui.switch("Two models").props("dense")
            self._second.on_value_change(self._show_sides)
        with ui.element("div").classes("sides"):
            self._sides = [_Side() for _ in range(MOST_SIDES)]
        with ui.element("div").classes("ask"):
            self._text = ui.textarea("Ask something. Enter sends, Shift+Enter is a new line.")
            self._text.props('autogrow outlined dense autofocus aria-label="Message"').classes("text")
            self._text.on("keydown.enter.exact.prevent", self._send)
            self._button = ui.button("Send", icon="send", on_click=self._send_or_stop).props("no-caps unelevated")
            over = ui.button(icon="delete_sweep", on_click=self._clear).props("flat round dense")
            over.props('aria-label="Start over" title="Start over"')
        with ui.expansion("The request as code", on_value_change=self._show_code).props("dense").classes("code"):
            with ui.tabs().props("dense no-caps align=left") as tabs:
                names = [ui.tab(name) for name in ("curl", "sage", "openai")]
            with ui.tab_panels(tabs, value=names[0]).style("background: transparent"):
                self._code = []
                for name, language in zip(names, ("bash", "python", "python"), strict=True):
                    with ui.tab_panel(name).style("padding: 8px 0"):
                        self._code.append(ui.code("", language=language).style("width: 100%"))
        self._show_sides()
        # Whoever leaves the page wants no more of its answers.
        ui.context.client.on_delete(self._stop)

    async def load_models(self) -> None:
        """Fill the lists of models with those that chat."""
        try:
            models = await self._access.client.models()
        except SageError as error:
            ui.label(error.message).classes("problem").props('role="alert"')
            return
        self._models = [model.id for model in models if RequestKind.LLM_CHAT in model.kinds]
        # One that only quotes has nothing to say to most questions.
        self._models.sort(key=lambda name: name == QUOTING)
        for number, side in enumerate(self._sides):
            side.offer(self._models, number)
        if not self._models:
            self._text.props("label='No model here answers chats; `sage engine start MODEL` brings one.'")
            self._button.disable()

    def _show_sides(self) -> None:
        self._sides[1].box.set_visibility(bool(self._second.value))

    @property
    def _shown(self) -> list[_Side]:
        return self._sides if self._second.value else self._sides[:1]

    def _params(self) -> dict[str, Any]:
        given = {"temperature": self._temperature.value, "max_tokens": self._max_tokens.value}
        params = {name: value for name, value in given.items() if value is not None}
        if "max_tokens" in params:
            params["max_tokens"] = int(params["max_tokens"])
        return params

    def _messages(self, side: _Side) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self._system.value}] if self._system.value else []
        return [*system, *side.messages]

    async def _send_or_stop(self) -> None:
        if self._running:
            self._stop()
        else:
            await self._send()

    def _stop(self) -> None:
        for task in self._running:
            task.cancel()

    async def _send(self) -> None:
        text = (self._text.value or "").strip()
        if not text or self._running or not self._models:
            return
        self._text.set_value("")
        self._button.set_text("Stop")
        self._button.set_icon("stop")
        for side in self._shown:
            side.say("user", text)
        loop = asyncio.get_running_loop()
        self._running = [loop.create_task(self._answer(side)) for side in self._shown]
        try:
            ended = await asyncio.gather(*self._running, return_exceptions=True)
        finally:
            self._running = []
            self._button.set_text("Send")
            self._button.set_icon("send")
            self._show_code()
        say_failures(ended)

    async def _answer(self, side: _Side) -> None:
        answer = StreamedAnswer(time.monotonic())
        shown = side.begin()
        messages = self._messages(side)
        drawn_at = 0.0
        try:
            async for piece in self._access.client.stream_chat(messages, str(side.model.value), **self._params()):
                now = time.monotonic()
                answer.add(piece.text, now)
                answer.request_id = piece.metadata.request_id or answer.request_id
                answer.engine = piece.metadata.engine or answer.engine
                answer.finish_reason = piece.finish_reason or answer.finish_reason
                if piece.usage is not None:
                    answer.tokens = piece.usage.completion_tokens
                if now - drawn_at >= SHOW_SECONDS:
                    drawn_at = now
                    shown.set_text(answer.text)
                    side.measure(answer)
        except SageError as error:
            side.fail(error.message)
        finally:
            shown.set_text(answer.text)
            side.end(answer)

    def _clear(self) -> None:
        if not self._running:
            for side in self._sides:
                side.clear()

    def _show_code(self) -> None:
        side = self._sides[0]
        messages = self._messages(side)
        while messages and messages[-1]["role"] == "assistant":
            messages.pop()
        messages = messages or [{"role": "user", "content": self._text.value or "Hello"}]
        target, needs_key = self._access.target, bool(self._access.key)
        params = {"model": str(side.model.value or ""), **self._params()}
        body = {**params, "messages": messages, "stream": True}
        texts = (
            as_curl(target, CHAT_PATH, body, needs_key=needs_key),
            as_sage(target, messages, params, needs_key=needs_key),
            as_openai(target, messages, params, needs_key=needs_key),
        )
        for code, text in zip(self._code, texts, strict=True):
            code.set_content(text)


class _Side:
    """A conversation with one model."""

    def __init__(self) -> None:
        self.messages: list[dict[str, str]] = []
        with ui.element("section").classes("card") as self.box:
            self.model = ui.select([], label="Model").props("dense outlined").classes("model")
            self._talk = ui.element("div").classes("talk").props('role="log" aria-live="polite"')
            with ui.element("div").classes("measured"):
                self._measured = ui.label()
                self._link = ui.link("timeline", "#")
                self._link.set_visibility(False)
            self._problem = ui.label().classes("problem").props('role="alert"')
            self._problem.set_visibility(False)

    def offer(self, models: list[str], number: int) -> None:
        """Let the visitor choose among models."""
        chosen = models[min(number, len(models) - 1)] if models else None
        self.model.set_options(models, value=chosen)

    def say(self, role: str, text: str) -> None:
        """Add a message."""
        self._problem.set_visibility(False)
        self.messages.append({"role": role, "content": text})
        with self._talk:
            ui.label(text).classes(f"said {role}")

    def begin(self) -> ui.label:
        """Add the answer that is to come."""
        self._link.set_visibility(False)
        self._measured.set_text("…")
        with self._talk:
            return ui.label().classes("said assistant")

    def measure(self, answer: StreamedAnswer) -> None:
        """Show the times so far."""
        parts = [f"TTFT {answer.ttft_ms:,.0f} ms"] if answer.ttft_ms is not None else []
        if answer.tpot_ms is not None:
            parts.append(f"TPOT {answer.tpot_ms:.1f} ms")
        if answer.tokens is not None:
            parts.append(f"{answer.tokens} tokens")
        self._measured.set_text(" · ".join(parts) or "…")

    def end(self, answer: StreamedAnswer) -> None:
        """Show what an answer came to."""
        self.measure(answer)
        if answer.text:
            self.messages.append({"role": "assistant", "content": answer.text})
        elif answer.first_at is None:
            self._measured.set_text("no answer")
        if answer.request_id:
            self._link.props["href"] = f"/requests/{answer.request_id}"
            self._link.set_visibility(True)

    def fail(self, message: str) -> None:
        """Show an error in the words of the API."""
        self._problem.set_text(message)
        self._problem.set_visibility(True)

    def clear(self) -> None:
        """Start over."""
        self.messages.clear()
        self._talk.clear()
        self._measured.set_text("")
        self._link.set_visibility(False)
        self._problem.set_visibility(False)
