"""Answers on a terminal: whole words, whatever the pieces are."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from sage_cli.answer_writer import AnswerWriter

WORDS = st.lists(st.text("abcdefgh", min_size=1, max_size=12), min_size=1, max_size=30)


def written(pieces: list[str], columns: int | None) -> str:
    out = io.StringIO()
    writer = AnswerWriter(out, columns)
    for piece in pieces:
        writer.write(piece)
    writer.end()
    return out.getvalue()


@given(WORDS, st.integers(12, 40), st.data())
def test_no_word_is_broken_and_no_line_is_longer_than_the_terminal(
    words: list[str], columns: int, data: st.DataObject
) -> None:
    text = " ".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    shown = written(pieces, columns)
    assert shown.split() == words
    assert all(len(line) <= columns for line in shown.splitlines())


def test_lines_and_indents_of_the_answer_stay() -> None:
    assert written(["a:\n\n    b", " c\n"], 20) == "a:\n\n    b c\n\n"


def test_a_word_goes_to_the_next_line_as_a_whole() -> None:
    assert written(["one two th", "ree"], 10) == "one two\nthree\n"


def test_a_word_that_is_longer_than_a_line_is_not_held() -> None:
    assert written(["a " + "x" * 25 + " b"], 10).split() == ["a", "x" * 10, "x" * 10, "x" * 5, "b"]


def test_wide_characters_break_anywhere_and_count_twice() -> None:
    assert written(["雨が降る山"], 8) == "雨が降る\n山\n"


def test_a_pipe_gets_the_pieces_as_they_are() -> None:
    assert written(["one  ", "two\tthree"], None) == "one  two\tthree\n"
