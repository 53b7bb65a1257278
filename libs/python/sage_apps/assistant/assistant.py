"""The assistant: a question of a conversation in, its sources and its answer out, as they come."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from sage_apps.assistant.conversation import AssistantConversation, AssistantTurn
from sage_apps.assistant.rewriting import Rewriter
from sage_apps.client_models import answering_model
from sage_client.client import AsyncUnifiedInferenceClient
from sage_client.knowledge.knowledge_bases import KnowledgeBases
from sage_client.knowledge.knowledge_views import PassageView
from sage_common.errors import UnprocessableError
from sage_libs.prompts import Passage, label_of, rag_messages


@dataclass(frozen=True, slots=True)
class AssistantOptions:
    """How questions are answered.

    Attributes:
        passages: that a model is given. Small models invent where their context is long.
        min_score: cosine similarity; where no passage is as similar to the question, none is relevant.
        max_tokens: of an answer.
        model: that answers; None for one that was registered, else the one that quotes.
    """

    passages: int = 4
    min_score: float = 0.2
    max_tokens: int = 256
    model: str | None = None


@dataclass(frozen=True, slots=True)
class QuestionTaken:
    """The question that passages are searched by."""

    question: str


@dataclass(frozen=True, slots=True)
class SourcesFound:
    """The passages that the answer is made from, numbered from 1; none where nothing relevant was found."""

    sources: tuple[PassageView, ...]


@dataclass(frozen=True, slots=True)
class AnswerPiece:
    """Text of the answer since the last piece."""

    text: str


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The whole turn, which the conversation remembers."""

    turn: AssistantTurn


AssistantEvent = QuestionTaken | SourcesFound | AnswerPiece | TurnEnded


class DocumentAssistant:
    """Answers the questions of conversations from one knowledge base. The clients stay the caller's to close.

    Args:
        knowledge_base: its name.
    """

    def __init__(
        self,
        knowledge: KnowledgeBases,
        client: AsyncUnifiedInferenceClient,
        knowledge_base: str,
        rewriter: Rewriter,
        options: AssistantOptions | None = None,
    ) -> None:
        self._knowledge = knowledge
        self._client = client
        self._name = knowledge_base
        self._rewriter = rewriter
        self._options = options or AssistantOptions()

    async def ask(self, asked: str, conversation: AssistantConversation) -> AsyncGenerator[AssistantEvent, None]:
        """Yield what becomes of a question, and remember the turn in ``conversation``.

        To close the generator stops the answer; what came of it until then is remembered too.

        Raises:
            InvalidRequestError: an empty or overlong question.
            NotFoundError: there is no such knowledge base, or no such model.
            UnprocessableError: the knowledge base is empty.
            SageError: the mesh failed; the conversation is as it was, or has the answer as far as it came.
        """
        began = time.perf_counter()
        options = self._options
        asked = asked.strip()
        question = await self._rewriter.rewrite(asked, conversation)
        yield QuestionTaken(question)
        found = await self._knowledge.search(self._name, question, k=options.passages)
        if not found:
            await self._require_documents()
        # What its words have found may answer where it is less similar; to leave that out cost 2 answers of 100.
        relevant = any(one.score is not None and one.score >= options.min_score for one in found)
        sources = tuple(found) if relevant else ()
        yield SourcesFound(sources)
        if not sources:
            text = f"Nothing relevant to the question was found in {self._name}."
            yield AnswerPiece(text)
            nothing = AssistantTurn(asked, question, text, "", (), time.perf_counter() - began)
            conversation.add(nothing)
            yield TurnEnded(nothing)
            return
        model = options.model or answering_model(await self._client.models())
        messages = rag_messages(question, [Passage(one.text, label_of(one.path, one.heading)) for one in sources])
        pieces: list[str] = []
        turn: AssistantTurn | None = None
        try:
            answer = self._client.stream_chat(messages, model, max_tokens=options.max_tokens)
            async with aclosing(answer) as streamed:  # type: ignore[type-var]
                async for piece in streamed:
                    if piece.text:
                        pieces.append(piece.text)
                        yield AnswerPiece(piece.text)
        finally:
            text = "".join(pieces)
            if text:
                turn = AssistantTurn(asked, question, text, model or "", sources, time.perf_counter() - began)
                conversation.add(turn)
        if turn is None:
            raise UnprocessableError(f"{model or 'the model'} answered with no text; ask again, or take another model")
        yield TurnEnded(turn)

    async def _require_documents(self) -> None:
        base = await self._knowledge.get(self._name)
        if not base.documents:
            raise UnprocessableError(
                f"the knowledge base {self._name!r} holds no document; `sage kb ingest {self._name} FOLDER` fills it",
                code="no_documents",
            )
