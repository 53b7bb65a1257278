"""``/knowledge/{name}``: one collection: its documents, what is found in it, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from nicegui import ui
from nicegui.events import UploadEventArguments
from starlette.requests import Request
from starlette.responses import Response

from sage_client.knowledge.knowledge_limits import MAX_DOCUMENT_BYTES
from sage_client.knowledge.knowledge_views import PassageView
from sage_common.errors import SageError
from sage_control_plane.request.request import RequestKind
from sage_libs.prompts import Passage, label_of, rag_messages
from sage_studio.highlight import highlighted
from sage_studio.pages.frame import empty, frame, give_order, icon_button
from sage_studio.visit import Visit, Visits

SHOWN_DOCUMENTS = 50
SEARCHED = 8
# Small models invent where their context is long.
ASKED = 4
MAX_TOKENS = 512
# It quotes, which the sources then show.
QUOTING = "sage-extractive"


def register(visits: Visits) -> None:
    """Add the page."""

    @ui.page("/knowledge/{name}")
    async def knowledge_base_page(request: Request, name: str) -> Response | None:
        visit = await visits.of(request)
        if isinstance(visit, Response):
            return visit
        with frame(visit, "/knowledge", name):
            page = _KnowledgeBasePage(visit, name)
            await page.list_documents()
            await page.load_models()
        return None


class _KnowledgeBasePage:
    def __init__(self, visit: Visit, name: str) -> None:
        self._access = visit.access
        self._api = visit.access.knowledge
        self._name = name
        with ui.element("section").classes("card"):
            ui.label("Ask, or search").classes("section")
            with ui.element("div").classes("row-line"):
                self._question = ui.input("What do you want to know?").props(
                    'dense outlined autofocus aria-label="Question"'
                )
                self._question.classes("question").on("keydown.enter", self._ask)
                self._model = ui.select([], label="Answered by").props("dense outlined").classes("policy")
                ui.button("Ask", on_click=self._ask).props("no-caps unelevated")
                ui.button("Search", on_click=self._search).props("no-caps flat")
            self._problem = ui.label().classes("problem").props('role="alert"').style("margin: 12px 0 0")
            self._problem.set_visibility(False)
            self._answer = ui.label().classes("answer").props('role="status" aria-live="polite"')
            self._found = ui.element("div").classes("found")
        with ui.element("section").classes("card").style("margin-top: 14px"):
            with ui.element("div").classes("row-line"):
                self._count = ui.label("Documents").classes("section").style("margin: 0")
                self._progress = ui.label().classes("muted right")
            with ui.element("div").classes("row-line").style("margin: 10px 0"):
                ui.upload(
                    label="Upload documents",
                    on_upload=self._store,
                    on_rejected=lambda: ui.notify("a document may have at most 32 MiB", type="negative"),
                    multiple=True,
                    auto_upload=True,
                    max_file_size=MAX_DOCUMENT_BYTES,
                ).props("flat bordered").classes("upload")
                self._folder = ui.input("Or a folder of the worker's machine").props("dense outlined")
                self._folder.classes("question").on("keydown.enter", self._ingest)
                ui.button("Ingest", on_click=self._ingest).props("no-caps flat")
            self._documents = ui.element("div").classes("lines")

    async def load_models(self) -> None:
        """Fill the list of models that may answer; the one that quotes comes first."""
        try:
            models = await self._access.client.models()
        except SageError as error:
            self._fail(error)
            return
        names = [model.id for model in models if RequestKind.LLM_CHAT in model.kinds]
        names.sort(key=lambda name: name != QUOTING)
        self._model.set_options(names, value=names[0] if names else None)

    async def list_documents(self) -> None:
        """Draw the list of documents."""
        try:
            page = await self._api.documents(self._name, limit=SHOWN_DOCUMENTS)
        except SageError as error:
            self._fail(error)
            return
        more = f", the first {SHOWN_DOCUMENTS}" if page.total > SHOWN_DOCUMENTS else ""
        self._count.set_text(f"{page.total:,} documents{more}" if page.total else "Documents")
        self._documents.clear()
        with self._documents:
            if not page.documents:
                empty("No document yet. Upload some, or name a folder.", f"sage kb ingest {self._name} FOLDER")
            for document in page.documents:
                with ui.element("div").classes("line"):
                    with ui.element("div"):
                        ui.label(document.title or document.path).classes("who")
                        ui.label(document.path).classes("muted")
                    ui.label(f"{document.passages:,} passages").classes("amount muted")
                    if document.folder:
                        ui.label("of a folder").classes("muted")
                    else:
                        icon_button("delete", f"Remove {document.path}", partial(self._remove, document.path))

    async def _store(self, event: UploadEventArguments) -> None:
        name = event.file.name
        self._progress.set_text(f"storing {name} …")
        data = await event.file.read()
        await give_order(self._api.store(self._name, name, data), f"{name} is stored")
        self._progress.set_text("")
        await self.list_documents()

    async def _ingest(self) -> None:
        folder = (self._folder.value or "").strip()
        try:
            async for seen in self._api.ingest(self._name, folder):
                done = seen.stored + seen.unchanged
                self._progress.set_text(f"{done:,} of {seen.files:,} documents, {seen.embedded:,} passages embedded")
                if seen.done and seen.left_out_total:
                    path, reason = seen.left_out[0]
                    left_out = f"{seen.left_out_total} left out, first {path}: {reason}"
                    ui.notify(left_out, type="warning", multi_line=True)
        except SageError as error:
            self._fail(error)
        await self.list_documents()

    async def _remove(self, path: str) -> None:
        await give_order(self._api.remove(self._name, path), f"{path} is removed")
        await self.list_documents()

    async def _search(self) -> None:
        found = await self._passages(SEARCHED)
        if found is not None:
            self._answer.set_text("" if found else "Nothing was found.")
            self._show(found, "")

    async def _ask(self) -> None:
        found = await self._passages(ASKED)
        if not found:
            self._answer.set_text("" if found is None else "Nothing was found, so no model was asked.")
            return
        passages = [Passage(one.text, label_of(one.path, one.heading)) for one in found]
        messages = rag_messages(str(self._question.value).strip(), passages)
        text = ""
        try:
            async for piece in self._access.client.stream_chat(messages, self._model.value, max_tokens=MAX_TOKENS):
                text += piece.text
                self._answer.set_text(text)
        except SageError as error:
            self._fail(error)
        self._show(found, text)

    async def _passages(self, count: int) -> list[PassageView] | None:
        self._problem.set_visibility(False)
        self._answer.set_text("…")
        self._found.clear()
        try:
            return await self._api.search(self._name, str(self._question.value or ""), k=count)
        except SageError as error:
            self._answer.set_text("")
            self._fail(error)
            return None

    def _fail(self, error: SageError) -> None:
        self._problem.set_text(error.message)
        self._problem.set_visibility(True)

    def _show(self, found: Sequence[PassageView], answer: str) -> None:
        self._found.clear()
        with self._found:
            for number, one in enumerate(found, start=1):
                with ui.element("article").classes("passage"):
                    with ui.element("div").classes("row-line"):
                        ui.label(f"[{number}] {one.place}").classes("who")
                        _score("meaning", one.score, one.vector_rank)
                        _score("words", one.word_score, one.word_rank)
                    if one.heading:
                        ui.label(one.heading).classes("muted")
                    with ui.element("p").classes("text"):
                        for piece in highlighted(one.text, answer):
                            with ui.element("mark" if piece.used else "span"):
                                ui.label(piece.text).classes("inline")


def _score(half: str, score: float | None, rank: int | None) -> None:
    text = f"{half}: not found" if score is None else f"{half} {score:.3g}, no. {rank}"
    ui.label(text).classes("chip" if score is None else "chip good")
