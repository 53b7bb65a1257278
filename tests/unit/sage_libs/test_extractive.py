from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_libs.extractive import parse_rag_prompt, rank_sentences, split_sentences
from sage_libs.prompts import Passage, rag_messages


def user(text: str) -> list[dict[str, object]]:
    return [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": text}]


def test_sages_own_prompt_gives_its_question_and_passages_in_order() -> None:
    parsed = parse_rag_prompt(rag_messages("Why?", [Passage("First.", "a"), Passage("Second.", "b")]))
    assert parsed == ("Why?", ("First.", "Second."))


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
    assert parse_rag_prompt(user(text)) == (question, context)


def test_a_long_system_message_is_context_and_a_short_one_is_not() -> None:
    facts = "The sky is blue. Grass is green. Snow is white."
    parsed = parse_rag_prompt([{"role": "system", "content": facts}, {"role": "user", "content": "Colour of snow?"}])
    assert parsed == ("Colour of snow?", (facts,))
    assert parse_rag_prompt(user("Colour?")).context_passages == ()


def test_no_user_text_gives_an_empty_question() -> None:
    assert parse_rag_prompt([{"role": "user", "content": None}]) == ("", ())
    assert parse_rag_prompt([]) == ("", ())


def test_sentences_lose_their_markup_and_code_fences() -> None:
    assert split_sentences("## Title\n\n1. One  two\n   three.\n\n```py\nx = 1\n```\n---\n") == [
        "Title", "One two three.", "x = 1",
    ]  # fmt: skip


def test_a_table_row_is_one_sentence_and_drawings_are_none() -> None:
    table = "| what dies | what happens |\n|---|:-:|\n| an engine |  another takes over |"
    assert split_sentences(table) == ["an engine – another takes over"]
    assert split_sentences("a ────────► b ──► c\n▲      │") == []


def test_the_most_relevant_sentences_come_back_in_reading_order() -> None:
    vectors = np.array([[0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
    chosen = rank_sentences([2.0, 0.0], vectors, ["a", "b", "c"], 2, diversity=0.0)
    assert [sentence.text for sentence in chosen] == ["a", "c"]
    assert chosen[1].score == pytest.approx(1.0)


def test_a_repeated_sentence_is_chosen_once() -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.8, 0.6]])
    assert [s.position for s in rank_sentences([1.0, 0.0], vectors, ["a", "a", "b"], 3)] == [0, 2]


def test_sentences_that_have_nothing_to_do_with_the_question_are_left_out() -> None:
    vectors = np.array([[0.0, 1.0], [-1.0, 0.0], [0.0, 0.0]])
    assert rank_sentences([1.0, 0.0], vectors, ["a", "b", "c"], 3) == []
    assert rank_sentences([1.0, 0.0], np.zeros((0, 2)), [], 3) == []


@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_any_choice_is_in_reading_order_without_repeats_and_no_longer_than_k(k: int, n: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, 4))
    chosen = rank_sentences(vectors[0], vectors, [str(i) for i in range(n)], k)
    positions = [sentence.position for sentence in chosen]
    assert positions == sorted(set(positions))
    assert 1 <= len(positions) <= k
    assert 0 in positions


def test_shapes_that_do_not_agree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        rank_sentences([1.0, 0.0, 0.0], np.zeros((2, 2)), ["a", "b"], 1)
    with pytest.raises(ValueError, match="at least one"):
        rank_sentences([1.0], np.zeros((1, 1)), ["a"], 0)


def test_a_tables_header_is_no_sentence_but_its_rows_are() -> None:
    table = "| part | what happens |\n|---|:--:|\n| the queue | it waits in order |\n| the engine | it answers |\n"
    assert split_sentences(table) == ["the queue – it waits in order", "the engine – it answers"]
