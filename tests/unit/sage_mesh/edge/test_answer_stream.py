"""A stream's record holds no more than its budget has, and gives all of it back."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_mesh.edge.answer_stream import RecordBudget, StreamRecord

TOKEN_BYTES = array("I").itemsize


def recorded(budget: RecordBudget) -> StreamRecord:
    """A record of ten bytes and three tokens."""
    record = StreamRecord(budget)
    record.begin_attempt(names_tokens=True)
    record.add_tokens((7, 8, 9))
    record.add(b"0123456789")
    return record


def test_tokens_take_their_bytes_of_the_budget_and_give_them_back_at_the_end() -> None:
    budget = RecordBudget()
    record = recorded(budget)
    assert budget.used == 10 + 3 * TOKEN_BYTES
    record.close()
    assert budget.used == 0


def test_what_is_undone_is_given_back_with_its_tokens() -> None:
    budget = RecordBudget()
    record = recorded(budget)
    record.keep()
    record.add_tokens((1, 2))
    record.add(b"abc")
    record.rewind()
    assert budget.used == 10 + 3 * TOKEN_BYTES
    assert record.tokens() == (7, 8, 9)


def test_tokens_that_an_engine_does_not_name_any_more_are_given_back() -> None:
    budget = RecordBudget()
    record = recorded(budget)
    record.begin_attempt(names_tokens=False)
    assert (budget.used, record.tokens()) == (10, ())


@pytest.mark.parametrize("room", [0, 2 * TOKEN_BYTES - 1])
def test_where_there_is_no_room_for_tokens_the_text_is_kept_without_them(room: int) -> None:
    budget = RecordBudget(10 + 3 * TOKEN_BYTES + room)
    record = recorded(budget)
    record.add_tokens((1, 2))
    assert (budget.used, record.tokens()) == (10, ())
    assert (record.complete, record.events()) == (True, b"0123456789")
    # A gap in the middle would make another answer of them.
    record.add_tokens((3,))
    assert record.tokens() == ()


STEPS = st.one_of(
    st.tuples(st.just("add"), st.binary(max_size=20)),
    st.tuples(st.just("add_tokens"), st.lists(st.integers(0, 2**32 - 1), max_size=5)),
    st.tuples(st.sampled_from(["keep", "rewind", "close"]), st.none()),
    st.tuples(st.just("follow_tokens"), st.booleans()),
)


@given(st.lists(STEPS, max_size=30), st.integers(0, 200))
def test_the_budget_knows_what_is_held_at_any_time(steps: list[tuple[str, object]], limit: int) -> None:
    budget = RecordBudget(limit)
    record = StreamRecord(budget)
    for verb, value in steps:
        if verb == "follow_tokens":
            record.begin_attempt(names_tokens=bool(value))
        elif value is None:
            getattr(record, verb)()
        else:
            getattr(record, verb)(value)
        assert budget.used == len(record.events()) + len(record.tokens()) * TOKEN_BYTES <= limit
