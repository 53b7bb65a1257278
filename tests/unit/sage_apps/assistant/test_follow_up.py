"""Questions that follow on are told from those that do not, and get what they are about."""

from __future__ import annotations

import pytest

from sage_apps.assistant.follow_up import follows_on, on_its_own, subject_of


@pytest.mark.parametrize(
    "asked",
    [
        "and how do I change it?",
        "What about DVDs from abroad?",
        "How long may it run?",
        "What does that cost?",
        "Can I still use the computers then?",
        "For how long?",
        "Why?",
        "Whose are these?",
        "Who reads there?",
    ],
)
def test_a_question_that_points_back_follows_on(asked: str) -> None:
    assert follows_on(asked)


@pytest.mark.parametrize(
    "asked",
    [
        "How long can I keep a book?",
        "Is there free parking near the library?",
        "Do you know that the printer is broken?",
        "Which room is open on Sundays?",
    ],
)
def test_a_question_that_names_what_it_is_about_does_not_follow_on(asked: str) -> None:
    assert not follows_on(asked)


def test_a_follow_up_gets_what_the_conversation_is_about() -> None:
    first = "How do I book a room?"
    second = on_its_own("And how do I cancel it?", [first])
    assert second == "And how do I cancel it? (about: How do I book a room)"
    third = on_its_own("What does that cost?", [first, second])
    assert third == "What does that cost? (about: How do I book a room)"
    assert on_its_own("Where is the car park?", [first, second]) == "Where is the car park?"


def test_the_first_question_is_left_as_it_is() -> None:
    assert on_its_own("And then?", []) == "And then?"


def test_what_a_question_is_about_stays_short_however_long_the_question_was() -> None:
    written = on_its_own("And why?", ["word " * 1000])
    assert len(written) < 450
    assert subject_of(written) == subject_of(on_its_own("And when?", [written]))
