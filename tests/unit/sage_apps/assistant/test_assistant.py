"""What becomes of a question: searched, answered piece by piece with its sources, remembered; or a clear error."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sage_apps.assistant.assistant import (
    AnswerPiece,
    AssistantEvent,
    AssistantOptions,
    DocumentAssistant,
    QuestionTaken,
    SourcesFound,
    TurnEnded,
)
from sage_apps.assistant.conversation import AssistantConversation
from sage_apps.assistant.rewriting import ByModel, ByRules, rewriter_of
from sage_client.client import AsyncUnifiedInferenceClient
from sage_client.knowledge.knowledge_bases import KnowledgeBases
from sage_client.knowledge.knowledge_views import KnowledgeBaseView, PassageView
from sage_client.models import ModelInfo
from sage_common.errors import EngineFailedError, InvalidRequestError, UnavailableError, UnprocessableError
from sage_control_plane.request.request import RequestKind

LEAVE = "Everybody has thirty days of leave a year."


def passage(score: float | None, text: str = LEAVE) -> PassageView:
    return PassageView(
        "hr.md", "", "Handbook", "Handbook > Leave", text, "body", "hr.md:3", 3, 3, None, score, 1.0, 1, 1, 1.0, {}
    )


class FakeKnowledge:
    """Finds what it was given, and says what it was asked."""

    def __init__(self, found: Sequence[PassageView], documents: int = 1) -> None:
        self.found, self.documents = found, documents
        self.failure: Exception | None = None
        self.asked: list[str] = []

    async def search(self, name: str, question: str, *, k: int = 4) -> list[PassageView]:
        if self.failure is not None:
            raise self.failure
        self.asked.append(question)
        return list(self.found[:k])

    async def get(self, name: str) -> KnowledgeBaseView:
        return KnowledgeBaseView(name, self.documents, self.documents, "words", 120, 0)


class FakeChats:
    """Streams an answer, and fails after it where that is wanted; words a question as it was told to."""

    def __init__(self, *pieces: str, failure: Exception | None = None, worded: str = "") -> None:
        self.pieces, self.failure, self.worded = pieces, failure, worded
        self.messages: list[Any] = []
        self.closed = False

    async def models(self) -> list[ModelInfo]:
        return [ModelInfo("sage-extractive", (RequestKind.LLM_CHAT,))]

    async def stream_chat(
        self, messages: Any, model: str | None = None, *, max_tokens: int
    ) -> AsyncGenerator[SimpleNamespace, None]:
        self.messages = messages
        try:
            for text in self.pieces:
                yield SimpleNamespace(text=text)
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed = True

    async def chat(self, messages: Any, model: str | None = None, **_: Any) -> SimpleNamespace:
        self.messages = messages
        return SimpleNamespace(text=self.worded)


def assistant(knowledge: FakeKnowledge, chats: FakeChats, **options: Any) -> DocumentAssistant:
    return DocumentAssistant(
        cast(KnowledgeBases, knowledge),
        cast(AsyncUnifiedInferenceClient, chats),
        "handbook",
        ByRules(),
        AssistantOptions(**options),
    )


async def events(asking: DocumentAssistant, asked: str, said: AssistantConversation) -> list[AssistantEvent]:
    return [event async for event in asking.ask(asked, said)]


async def test_a_question_is_answered_piece_by_piece_from_its_sources() -> None:
    knowledge, chats = FakeKnowledge([passage(0.6)]), FakeChats("Thirty ", "", "days. [1]")
    said = AssistantConversation()
    *before, ended = await events(assistant(knowledge, chats), " How many days of leave? ", said)
    assert before == [
        QuestionTaken("How many days of leave?"),
        SourcesFound((passage(0.6),)),
        AnswerPiece("Thirty "),
        AnswerPiece("days. [1]"),
    ]
    assert isinstance(ended, TurnEnded)
    assert (ended.turn.answer, ended.turn.model) == ("Thirty days. [1]", "sage-extractive")
    assert said.turns == (ended.turn,)
    assert LEAVE in chats.messages[-1]["content"]


async def test_a_follow_up_is_searched_and_answered_as_a_question_of_its_own() -> None:
    knowledge, chats = FakeKnowledge([passage(0.6)]), FakeChats("Ask your manager.")
    said = AssistantConversation()
    asking = assistant(knowledge, chats)
    await events(asking, "How many days of leave are there?", said)
    await events(asking, "And how do I take them?", said)
    worded = "And how do I take them? (about: How many days of leave are there)"
    assert knowledge.asked[-1] == said.turns[-1].question == worded
    assert chats.messages[-1]["content"].endswith(f"Question: {worded}")


@pytest.mark.parametrize("scores", [[0.1, 0.19], [None]])
async def test_no_model_is_asked_where_nothing_relevant_was_found(scores: list[float | None]) -> None:
    chats, said = FakeChats("I made this up."), AssistantConversation()
    ended = (await events(assistant(FakeKnowledge([*map(passage, scores)]), chats), "What is the moon?", said))[-1]
    assert isinstance(ended, TurnEnded)
    assert ended.turn.answer == "Nothing relevant to the question was found in handbook."
    assert (ended.turn.sources, ended.turn.model, chats.messages) == ((), "", [])


async def test_what_only_words_have_found_is_a_source_beside_one_that_is_similar() -> None:
    knowledge, said = FakeKnowledge([passage(0.6), passage(0.1, "Days begin at nine.")]), AssistantConversation()
    await events(assistant(knowledge, FakeChats("Thirty days.")), "How many days of leave?", said)
    assert said.turns[0].sources == tuple(knowledge.found)


async def test_an_empty_knowledge_base_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(UnprocessableError, match="holds no document; `sage kb ingest handbook FOLDER` fills it"):
        await events(assistant(FakeKnowledge([], documents=0), FakeChats()), "Anything?", AssistantConversation())


async def test_a_dead_mesh_leaves_the_conversation_as_it_was_and_it_goes_on_after() -> None:
    knowledge, said = FakeKnowledge([passage(0.6)]), AssistantConversation()
    asking = assistant(knowledge, FakeChats("Thirty days."))
    knowledge.failure = UnavailableError("no engine serves embeddings")
    with pytest.raises(UnavailableError):
        await events(asking, "How many days of leave?", said)
    assert said.turns == ()
    knowledge.failure = None
    await events(asking, "How many days of leave?", said)
    assert len(said.turns) == 1


async def test_an_answer_that_breaks_off_is_remembered_as_far_as_it_came() -> None:
    said = AssistantConversation()
    chats = FakeChats("Thirty ", failure=EngineFailedError("the engine died"))
    with pytest.raises(EngineFailedError):
        await events(assistant(FakeKnowledge([passage(0.6)]), chats), "How many days of leave?", said)
    assert said.turns[0].answer == "Thirty "


async def test_an_answer_that_is_not_wanted_any_more_is_stopped() -> None:
    said, chats = AssistantConversation(), FakeChats("Thirty ", "days.")
    async with aclosing(assistant(FakeKnowledge([passage(0.6)]), chats).ask("How much leave?", said)) as stream:
        async for event in stream:
            if isinstance(event, AnswerPiece):
                break
    assert chats.closed
    assert said.turns[0].answer == "Thirty "


async def test_a_model_that_says_nothing_is_an_error_and_no_turn() -> None:
    said = AssistantConversation()
    with pytest.raises(UnprocessableError, match="sage-extractive answered with no text"):
        await events(assistant(FakeKnowledge([passage(0.6)]), FakeChats()), "How many days of leave?", said)
    assert said.turns == ()


async def test_the_oldest_turn_is_forgotten() -> None:
    asking, said = assistant(FakeKnowledge([passage(0.6)]), FakeChats("Yes.")), AssistantConversation(2)
    for name in ("first", "second", "third"):
        await events(asking, f"Is the {name} library open today?", said)
    assert [turn.asked.split()[2] for turn in said.turns] == ["second", "third"]
    said.clear()
    assert said.last is None


async def test_a_model_words_only_what_follows_on_and_the_rules_do_where_it_says_nothing() -> None:
    said = AssistantConversation()
    await events(assistant(FakeKnowledge([passage(0.6)]), FakeChats("Thirty.")), "How much leave is there?", said)
    chats = FakeChats(worded="Question: How do I take leave?\nIt is simple.")
    worded = ByModel(cast(AsyncUnifiedInferenceClient, chats), None)
    assert await worded.rewrite("How do I take it?", said) == "How do I take leave?"
    assert await worded.rewrite("Who pays for the travel costs?", said) == "Who pays for the travel costs?"
    chats.worded = "\n "
    assert await worded.rewrite("Why is it?", said) == "Why is it? (about: How much leave is there)"


def test_a_way_to_rewrite_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequestError, match="no rewriting 'rule'"):
        rewriter_of("rule", cast(AsyncUnifiedInferenceClient, FakeChats()), None)
