"""The form of an answer: reasons for why, instructions for how, a name for which."""

from __future__ import annotations

import pytest

from sage_libs.answer_signs import answer_signs


@pytest.mark.parametrize(
    ("question", "answer", "other"),
    [
        ("Why is it slow?", "It is slow because it waits.", "It is slow on Mondays."),
        ("May two files include one another?", "Cycles are not allowed.", "Files include other files."),
        ("How do I leave a loop?", "Use the break command.", "The loop repeats a block."),
        ("How do you stop it?", "To stop it, send a signal.", "It stops at the end."),
        ("Which languages are on by default?", "By default they are C and CXX.", "The project command enables them."),
        ("What is used when nothing fits?", "Otherwise the prompt is used.", "Programs make it easy."),
    ],
)
def test_an_answer_has_the_form_that_its_question_asks_for(question: str, answer: str, other: str) -> None:
    assert answer_signs(question, answer).expected
    assert not answer_signs(question, other).expected


@pytest.mark.parametrize("code", ["--config", "docs/adr", "X-Request-ID", "port_offset", "HGRC_SKIP", "break()", "a=b"])
def test_what_names_code_answers_which_and_not_how_many(code: str) -> None:
    assert answer_signs("Which one sets it?", f"It is {code} here").names_code
    assert not answer_signs("Which one sets it?", "It is one of them").names_code
    assert not answer_signs("How many set it?", f"It is {code} here").names_code
    assert not answer_signs("What happens when it is set?", f"It is {code} here").names_code


def test_a_question_in_another_language_expects_nothing() -> None:
    assert answer_signs("Wozu dient das?", "Es dient --dem Zweck.") == (False, False)
