"""What a conversation with the assistant looks like in a terminal: answers, sources, failures."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncGenerator, Iterator
from typing import cast

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
from sage_apps.assistant.conversation import AssistantConversation, AssistantTurn
from sage_cli.applications.assistant_session import AssistantAsk, AssistantSession
from sage_cli.waiting import WaitDisplay
from sage_client.knowledge.knowledge_views import PassageView
from sage_client.loop_thread import LoopThread
from sage_common.errors import UnavailableError

SOURCE = PassageView(
    "hr.md", "", "HR", "HR > Leave", "Thirty days.", "body", "hr.md:3", 3, 3, None, 0.5, 1.0, 1, 1, 1.0, {}
)


class FakeAssistant:
    """Answers every question the same way, or fails as the question says."""

    async def ask(self, asked: str, conversation: AssistantConversation) -> AsyncGenerator[AssistantEvent, None]:
        if "dead" in asked:
            raise UnavailableError("no engine serves embeddings; `sage status` shows what runs")
        question = f"{asked} (about: leave)" if conversation.turns else asked
        yield QuestionTaken(question)
        yield SourcesFound((SOURCE,))
        yield AnswerPiece("Thirty ")
        yield AnswerPiece("days. [1]")
        turn = AssistantTurn(asked, question, "Thirty days. [1]", "sage-extractive", (SOURCE,), 0.1)
        conversation.add(turn)
        yield TurnEnded(turn)


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    running = LoopThread("test")
    yield running
    running.stop()


def session(loop: LoopThread, *, as_json: bool = False) -> AssistantSession:
    ask = AssistantAsk("hr", "rules", AssistantOptions(), as_json)
    return AssistantSession(cast(DocumentAssistant, FakeAssistant()), ask, WaitDisplay("looking"), loop)


def hold(
    session: AssistantSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *typed: str
) -> tuple[list[str], list[str]]:
    """Type lines, and return those on stdout and on stderr."""
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(typed)))
    session.hold()
    said, noted = capsys.readouterr()
    return said.splitlines(), noted.splitlines()


def test_an_answer_is_followed_by_its_sources_and_a_follow_up_shows_what_was_searched(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said, noted = hold(session(loop), monkeypatch, capsys, "How much leave?", "And when?")
    assert said == ["Thirty days. [1]", "[1] hr.md:3  HR > Leave"] * 2
    assert noted == ["sage-extractive, 0.1 s", "searched: And when? (about: leave)", "sage-extractive, 0.1 s"]


def test_a_failure_is_told_and_the_conversation_goes_on(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said, noted = hold(session(loop), monkeypatch, capsys, "dead?", "How much leave?")
    assert noted[0] == "no engine serves embeddings; `sage status` shows what runs"
    assert said[0] == "Thirty days. [1]"


def test_commands_show_sources_whole_forget_and_help(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ("/sources", "How much leave?", "/sources", "/clear", "And when?", "/nothing")
    said, noted = hold(session(loop), monkeypatch, capsys, *typed)
    assert noted[0] == "no source yet; ask something"
    assert [line.strip() for line in said[2:4]] == ["[1] 0.500  hr.md:3  HR > Leave", "Thirty days."]
    assert "forgotten" in noted
    assert not any(line.startswith("searched") for line in noted)
    assert "no command /nothing" in noted


def test_programs_get_a_line_for_each_turn(loop: LoopThread, capsys: pytest.CaptureFixture[str]) -> None:
    session(loop, as_json=True).ask("How much leave?")
    (line,) = capsys.readouterr().out.splitlines()
    turn = json.loads(line)
    assert (turn["answer"], turn["model"], turn["sources"][0]["place"]) == (
        "Thirty days. [1]",
        "sage-extractive",
        "hr.md:3",
    )
    assert turn["sources"][0]["number"] == 1
