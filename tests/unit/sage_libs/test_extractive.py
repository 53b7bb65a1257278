from __future__ import annotations

import pytest

from sage_libs.extractive import parse_rag_prompt
from sage_libs.prompts import Passage, label_of, rag_messages


def user(text: str) -> list[dict[str, object]]:
    return [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": text}]


def test_sages_own_prompt_gives_its_question_and_passages_in_order() -> None:
    parsed = parse_rag_prompt(rag_messages("Why?", [Passage("First.", "a"), Passage("Second.", "b")]))
    assert parsed == ("Why?", ("First.", "Second."), ("", ""))


@pytest.mark.parametrize(
    ("text", "question", "context"),
    [
        ("What is up?", "What is up?", ()),
        ("The sky is blue.\n\nWhich colour is it?", "Which colour is it?", ("The sky is blue.",)),
        ("Which colour is it? Answer briefly.", "Which colour is it?", ("Answer briefly.",)),
        ("Summarise this:\nThe sky is blue.", "Summarise this:", ("The sky is blue.",)),
        ("Context: The sky is blue.\nQuestion: Colour\nAnswer:", "Colour", ("Context: The sky is blue.",)),
        ("The sky is blue. Tell me its colour.", "Tell me its colour.", ("The sky is blue.",)),
    ],
)
def test_a_free_form_prompt_is_split_into_question_and_context(
    text: str, question: str, context: tuple[str, ...]
) -> None:
    assert parse_rag_prompt(user(text)) == (question, context, ("",) * len(context))


def test_a_long_system_message_is_context_and_a_short_one_is_not() -> None:
    facts = "The sky is blue. Grass is green. Snow is white."
    parsed = parse_rag_prompt([{"role": "system", "content": facts}, {"role": "user", "content": "Colour of snow?"}])
    assert parsed == ("Colour of snow?", (facts,), ("",))
    assert parse_rag_prompt(user("Colour?")).context_passages == ()


def test_no_user_text_gives_an_empty_question() -> None:
    assert parse_rag_prompt([{"role": "user", "content": None}]) == ("", (), ())
    assert parse_rag_prompt([]) == ("", (), ())


def test_the_headings_of_a_passage_come_back_from_its_label() -> None:
    labels = [label_of("a (1).md", "Guide (new) > Setup"), label_of("b.md", "Guide > Use"), label_of("c.md", "")]
    parsed = parse_rag_prompt(rag_messages("Why?", [Passage("Text.", label) for label in labels]))
    assert parsed.headings[1:] == ("Guide > Use", "")
