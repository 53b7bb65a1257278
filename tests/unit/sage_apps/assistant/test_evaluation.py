"""The labelled conversations fit the handbook, and figures are counted right."""

from __future__ import annotations

from collections import Counter

import pytest

from sage_apps.assistant.conversation import AssistantTurn
from sage_apps.assistant.evaluation import AnsweredTurn, SearchedTurn, tables_of_answers, tables_of_searches
from sage_apps.assistant.labelled_conversations import HELD_OUT, TUNING, LabelledTurn, read_conversations, words_of
from sage_apps.assistant.sample import handbook_files
from sage_client.knowledge.knowledge_views import PassageView


def source(text: str) -> PassageView:
    return PassageView("a.md", "", "", "", text, "body", "a.md:1", 1, 1, None, 0.5, 1.0, 1, 1, 1.0, {})


def test_what_every_label_says_stands_in_its_document() -> None:
    documents = {file.name: words_of(file.read_text(encoding="utf-8")) for file in handbook_files()}
    turns = [turn for conversation in read_conversations() for turn in conversation.turns]
    assert [turn.asked for turn in turns if turn.file and not turn.is_said_in(documents[turn.file])] == []
    assert sum(turn.follows for turn in turns) > 60
    assert min(Counter(turn.file for turn in turns).values()) >= 3


def test_no_conversation_begins_with_a_follow_up() -> None:
    assert [one.turns[0].asked for one in read_conversations() if one.turns[0].follows] == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param("Books are lent for 28 days. [1] Ask us. [1]", (1.0, 1.0, 1.0, 1.0, 1.0), id="all right"),
        pytest.param("More. [1] Books are lent for 28 days. [1]", (0.0, 1.0, 1.0, 1.0, 1.0), id="right in the second"),
        pytest.param("You have 28 days. [9]", (1.0, 1.0, 0.0, 0.0, 0.0), id="not quoted, and no such source"),
    ],
)
def test_an_answer_is_judged_by_what_it_says_and_rests_on(answer: str, expected: tuple[float, ...]) -> None:
    labelled = LabelledTurn("How long?", "How long are books lent?", "a.md", ("28 days",))
    turn = AssistantTurn("How long?", "How long?", answer, "m", (source("Books are lent for 28 days. More."),))
    answers, refusals = tables_of_answers([AnsweredTurn(HELD_OUT, labelled, turn)])
    assert tuple(figures[0] for _, figures in answers.rows) == expected
    assert refusals.rows == (
        ("answered in the handbook", (0.0, 1.0, 0.0, 1.0)),
        ("not in the handbook", (None, 0.0, None, 0.0)),
    )


def test_what_is_refused_is_counted_apart_on_conversations_that_were_held_out() -> None:
    unknown = LabelledTurn("Not there", "Not there")
    refused = AssistantTurn("Not there", "Not there", "Nothing", "", ())
    found = AssistantTurn("Not there", "Not there", "Books.", "m", (source("Books."),))
    answered = [AnsweredTurn(TUNING, unknown, refused), AnsweredTurn(HELD_OUT, unknown, found)]
    _, refusals = tables_of_answers(answered)
    assert refusals.rows[1] == ("not in the handbook", (0.5, 2.0, 0.0, 1.0))


def test_ranks_are_counted_by_split_and_by_whether_a_question_follows_on() -> None:
    follow = LabelledTurn("And?", "And what?", "a.md", ("x",))
    own = LabelledTurn("What?", "What?", "a.md", ("x",))
    turns = [
        SearchedTurn(TUNING, follow, 1),
        SearchedTurn(TUNING, follow, None),
        SearchedTurn(HELD_OUT, follow, 3),
        SearchedTurn(HELD_OUT, own, 4),
        SearchedTurn(TUNING, LabelledTurn("Not there", "Not there"), None),
    ]
    following, single = tables_of_searches({"rules": turns})
    assert following.rows == (("rules", (1 / 3, 2 / 3, 0.0, 1.0)),)
    assert single.rows == (("rules", (0.0, 0.0, 0.0, 0.0)),)
