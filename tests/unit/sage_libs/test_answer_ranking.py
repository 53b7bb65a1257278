from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_libs.answer_ranking import AnswerWeights, ContextPiece, pieces_of, rank_pieces, statement_of
from sage_libs.evidence import Evidence, EvidenceForm

ASKED = np.array([[2.0, 0.0], [1.0, 0.0]])
ONLY_MEANING = AnswerWeights(1, *[0] * 9)


def piece(text: str, passage: int = 1, form: EvidenceForm = EvidenceForm.SENTENCE) -> ContextPiece:
    return ContextPiece(Evidence(text, form), passage, "")


def order(pieces: list[ContextPiece], vectors: list[list[float]], question: str = "Why?") -> list[int]:
    return [one.position for one in rank_pieces(question, ASKED, np.array(vectors), pieces, len(pieces))]


def test_the_most_similar_piece_comes_first() -> None:
    pieces = [piece("one two three four five"), piece("six seven eight nine ten")]
    assert order(pieces, [[0.6, 0.8], [1.0, 0.0]]) == [1, 0]


def test_between_pieces_alike_that_of_the_better_passage_comes_first() -> None:
    pieces = [piece("one two three four five", 2), piece("six seven eight nine ten", 1)]
    assert order(pieces, [[0.8, 0.6], [0.8, -0.6]]) == [1, 0]


def test_between_pieces_alike_that_with_the_words_of_the_question_comes_first() -> None:
    pieces = [piece("a lease lasts a second here"), piece("locks of schedulers expire soon enough")]
    assert order(pieces, [[0.8, 0.6], [0.8, -0.6]], "When does the lock expire?") == [1, 0]


def test_between_pieces_alike_that_with_the_form_of_an_answer_comes_first() -> None:
    pieces = [piece("one two three four five"), piece("because two three four five")]
    assert order(pieces, [[0.8, 0.6], [0.8, -0.6]], "Why seven?") == [1, 0]
    pieces = [piece("one two three four five"), piece("one two --three four five")]
    assert order(pieces, [[0.8, 0.6], [0.8, -0.6]], "Which seven?") == [1, 0]


def test_headings_fragments_and_what_refers_back_come_later() -> None:
    vectors = [[0.8, 0.6], [0.8, -0.6]]
    sentence = piece("one two three four five")
    for other in (piece("x y"), piece("It does so most of the time."), piece("a b c d e", form=EvidenceForm.HEADING)):
        assert order([other, sentence], vectors) == [1, 0]


def test_a_repeated_piece_is_chosen_once() -> None:
    pieces = [piece("a"), piece("a"), piece("b")]
    found = rank_pieces("Why?", ASKED, [[1.0, 0.0], [1.0, 0.0], [0.8, 0.6]], pieces, 3, weights=ONLY_MEANING)
    assert [one.position for one in found] == [0, 2]


def test_what_repeats_the_question_is_no_answer_but_may_be_a_part_of_one() -> None:
    question = "What happens when a scheduler dies?"
    answered = piece(f"{question} A standby takes its lease within two seconds and goes on.")
    pieces = [piece(f"$ sage ask '{question}' --docs ."), piece("a standby takes the lease"), answered]
    assert order(pieces, [[1.0, 0.0], [0.6, 0.8], [0.8, -0.6]], question) == [2, 1]
    assert order([piece("Why?"), piece("because of it")], [[1.0, 0.0], [0.6, 0.8]]) == [0, 1]


def test_what_has_nothing_to_do_with_the_question_is_left_out() -> None:
    assert order([piece("a"), piece("b"), piece("c")], [[0.0, 1.0], [-1.0, 0.0], [0.0, 0.0]]) == []
    assert rank_pieces("Why?", ASKED, np.zeros((0, 2)), [], 3) == []


@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_any_choice_has_no_repeats_the_best_first_and_no_more_than_k(k: int, n: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, 4))
    chosen = rank_pieces("Why?", vectors[[0, 0]], vectors, [piece(f"it is {at}") for at in range(n)], k)
    positions = [one.position for one in chosen]
    assert len(set(positions)) == len(positions)
    assert 1 <= len(positions) <= k
    assert [one.score for one in chosen] == sorted((one.score for one in chosen), reverse=True)


def test_shapes_that_do_not_agree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        rank_pieces("Why?", np.zeros((2, 3)), np.zeros((2, 3)), [piece("a")], 1)
    with pytest.raises(ValueError, match="at least one"):
        rank_pieces("Why?", ASKED, [[1.0, 0.0]], [piece("a")], 0)


@pytest.mark.parametrize(
    ("question", "statement"),
    [
        ("How do I stop it from running?", "stop it from running"),
        ("What happens when a scheduler dies?", "a scheduler dies"),
        ("Which port is it?", "port is it"),
        ("The capital of France", "The capital of France"),
        ("Why?", "Why"),
    ],
)
def test_a_statement_is_a_question_without_the_words_that_ask(question: str, statement: str) -> None:
    assert statement_of(question) == statement


def test_a_piece_is_embedded_with_its_nearest_headings_and_its_term() -> None:
    (found, *_) = pieces_of(["HGPLAIN\n    It is set."], ["Guide > Files > Environment"])
    assert found.embedded_text == "Files > Environment\nHGPLAIN: It is set."
