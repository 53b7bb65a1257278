"""What of a source is marked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage_studio.highlight import Piece, highlighted

SOURCE = "Leave is thirty days a year. Ask your manager first!\nContractors have none of these rights."


def test_quoted_and_reworded_sentences_are_marked_and_others_are_not() -> None:
    assert highlighted(SOURCE, "Contractors have none of these rights. [1]") == [
        Piece("Leave is thirty days a year. Ask your manager first!\n", False),
        Piece("Contractors have none of these rights.", True),
    ]
    assert highlighted(SOURCE, "A year has thirty days of leave.")[0] == Piece("Leave is thirty days a year. ", True)
    assert highlighted(SOURCE, "") == [Piece(SOURCE, False)]


@given(st.text(max_size=200), st.text(max_size=200))
def test_the_pieces_are_the_text(source: str, answer: str) -> None:
    assert "".join(piece.text for piece in highlighted(source, answer)) == source
