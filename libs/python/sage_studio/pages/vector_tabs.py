"""The playground's other tabs: texts by how alike they are, and documents by how well they answer."""

from __future__ import annotations

from nicegui import ui

from sage_common.errors import SageError
from sage_control_plane.request.request import RequestKind
from sage_studio.access import Access
from sage_studio.similarity import cosines, similarity_options

MOST_TEXTS = 30
TEXTS = "A dog plays in the park.\nA puppy runs over the grass.\nThe bank raises its interest.\nMoney costs more now."
QUERY = "How do I get more days of leave?"
DOCUMENTS = "Leave is thirty days a year.\nSalaries are paid monthly.\nAsk your manager for unpaid leave."


async def models_for(access: Access, kind: RequestKind) -> list[str]:
    """Return the models that do a kind of work; none where the gateway does not answer, which the frame tells."""
    try:
        return [model.id for model in await access.client.models() if kind in model.kinds]
    except SageError:
        return []


class EmbeddingTab:
    """A map of how alike texts are."""

    def __init__(self, access: Access) -> None:
        self._access = access
        with ui.element("section").classes("card"):
            self.model = ui.select([], label="Model").props("dense outlined").classes("model")
            self._texts = ui.textarea("Texts, one a line", value=TEXTS).props("outlined dense autogrow")
            self._texts.classes("model").style("margin: 10px 0")
            ui.button("Compare", on_click=self._compare).props("no-caps unelevated")
            self._said = ui.label().classes("measured")
            self._map = ui.element("div")

    async def _compare(self) -> None:
        texts = _lines(self._texts.value)
        if not texts:
            return
        try:
            answer = await self._access.client.embed(texts, self.model.value)
        except SageError as error:
            ui.notify(error.message, type="negative", multi_line=True)
            return
        self._said.set_text(f"{answer.vectors.shape[1]} dimensions · {answer.usage.prompt_tokens} tokens")
        self._map.clear()
        with self._map:
            ui.echart(similarity_options(texts, cosines(answer.vectors))).classes("chart similarity")


class RerankTab:
    """Documents in the order in which they answer a question."""

    def __init__(self, access: Access) -> None:
        self._access = access
        with ui.element("section").classes("card"):
            self.model = ui.select([], label="Model").props("dense outlined").classes("model")
            self._query = ui.input("Question", value=QUERY).props("outlined dense").classes("model")
            self._query.style("margin-top: 10px").on("keydown.enter", self._order)
            self._documents = ui.textarea("Documents, one a line", value=DOCUMENTS).props("outlined dense autogrow")
            self._documents.classes("model").style("margin: 10px 0")
            ui.button("Order", on_click=self._order).props("no-caps unelevated")
            self._ranked = ui.element("div").classes("bars").style("margin-top: 14px")

    async def _order(self) -> None:
        documents = _lines(self._documents.value)
        if not documents:
            return
        try:
            answer = await self._access.client.rerank(str(self._query.value or ""), documents, self.model.value)
        except SageError as error:
            ui.notify(error.message, type="negative", multi_line=True)
            return
        self._ranked.clear()
        with self._ranked:
            for one in answer.results:
                with ui.element("div").classes("barline"):
                    ui.label(documents[one.index])
                    with ui.element("div").classes("meter good-meter"):
                        ui.element("div").style(f"width: {min(1.0, max(0.0, one.relevance_score)) * 100:.1f}%")
                    ui.label(f"{one.relevance_score:.3f}").classes("amount muted")


def _lines(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()][:MOST_TEXTS]
