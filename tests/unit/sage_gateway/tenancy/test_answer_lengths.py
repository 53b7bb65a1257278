from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from sage_gateway.tenancy.answer_lengths import LEAST_KNOWN, LEAST_TOKENS, AnswerLengths, with_most_tokens


def test_a_part_of_what_is_assumed_is_enough_until_answers_are_known() -> None:
    lengths = AnswerLengths()
    assert lengths.usual("acme", "m", 512) == 64
    for _ in range(LEAST_KNOWN):
        lengths.add("acme", "m", 100)
    assert lengths.usual("acme", "m", 512) == 125
    assert lengths.usual("acme", "another", 512) == lengths.usual("another", "m", 512) == 64


def test_answers_that_are_cut_at_their_limit_raise_it() -> None:
    lengths, limits = AnswerLengths(), []
    for _ in range(40):
        limits.append(lengths.usual("acme", "m", 512))
        lengths.add("acme", "m", limits[-1])
    assert limits[-1] == 512
    assert limits == sorted(limits)


@given(st.lists(st.integers(0, 10_000), max_size=50), st.integers(1, 4_000))
def test_no_more_is_ever_reserved_than_what_is_assumed(tokens: list[int], assumed: int) -> None:
    lengths = AnswerLengths()
    for each in tokens:
        lengths.add("acme", "m", each)
    assert min(assumed, LEAST_TOKENS) <= lengths.usual("acme", "m", assumed) <= assumed


def test_a_limit_changes_nothing_else_in_a_body() -> None:
    body = b'{"model":"m","max_tokens":null,"n":12345678901234567890123,"messages":[]}'
    assert with_most_tokens(body, 7) == body.replace(b"null", b"7")
    assert orjson.loads(with_most_tokens(b"{}", 7)) == {"max_tokens": 7}
    assert with_most_tokens(b'{"min_tokens": 8}', 7) is None
