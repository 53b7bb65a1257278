"""Cutting a file into lines, reading them, and checking a whole file."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
from fixtures.batch_client import CHAT, chat_line
from hypothesis import given
from hypothesis import strategies as st

from sage_gateway.batches.batch_lines import BrokenLineError, FileLine, file_lines, read_line
from sage_gateway.batches.input_check import CheckedInput, check_input


async def pieces(content: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    edges = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        yield content[start:end]


async def cut(content: bytes, cuts: list[int], longest: int = 1000) -> list[FileLine]:
    return [line async for line in file_lines(pieces(content, cuts), longest)]


@given(st.lists(st.binary(max_size=30).map(lambda text: text.replace(b"\n", b""))), st.lists(st.integers(0, 2000)))
async def test_lines_are_the_same_however_the_file_is_cut(lines: list[bytes], cuts: list[int]) -> None:
    expected = [FileLine(at, line) for at, line in enumerate(lines, 1) if line.strip()]
    assert await cut(b"\n".join(lines), cuts) == expected
    assert await cut(b"\n".join([*lines, b""]), cuts) == expected


@given(st.lists(st.integers(0, 400)))
async def test_a_line_that_is_too_long_is_told_and_the_next_is_read(cuts: list[int]) -> None:
    content = b"a" * 10 + b"\n" + b"b" * 11 + b"\n" + b"c" * 200 + b"\nd\n" + b"e" * 100
    found = await cut(content, cuts, longest=10)
    assert found == [
        FileLine(1, b"a" * 10),
        FileLine(2, None),
        FileLine(3, None),
        FileLine(4, b"d"),
        FileLine(5, None),
    ]


@pytest.mark.parametrize(
    ("text", "said", "custom_id"),
    [
        (b"{", "not valid JSON", None),
        (b"[]", "no JSON object", None),
        (b"{}", "'custom_id' must be a string", None),
        (chat_line("", "x"), "'custom_id' must be a string", ""),
        (chat_line("c" * 513, "x"), "1 to 512 characters", "c" * 513),
        (chat_line("c", "x", method="GET"), "'method' is 'GET'", "c"),
        (chat_line("c", "x", url="/v1/embeddings"), "the batch is for '/v1/chat/completions'", "c"),
        (chat_line("c", "x", body=[1]), "'body' must be an object", "c"),
        (chat_line("c", "x", body={"stream": True}), "asks for a stream", "c"),
        (chat_line("c", "x", priority=1), "'priority' is not a field", "c"),
    ],
)
def test_a_broken_line_says_what_is_wrong_and_whose_it_is(text: bytes, said: str, custom_id: str | None) -> None:
    with pytest.raises(BrokenLineError, match=said) as broken:
        read_line(FileLine(1, text), CHAT, 1000)
    assert broken.value.custom_id == custom_id


def test_null_is_absent_and_a_byte_order_mark_is_no_part_of_a_line() -> None:
    line = read_line(
        FileLine(1, b"\xef\xbb\xbf" + chat_line("c", "x", priority=None, body={"stream": None})), CHAT, 1000
    )
    assert line.custom_id == "c"


async def check(content: bytes, **limits: int) -> CheckedInput:
    given_limits = {"max_requests": 100, "max_line_bytes": 1000, **limits}
    return await check_input(lambda: file_lines(pieces(content, [7]), 1000), CHAT, **given_limits)


async def test_broken_lines_count_and_do_not_keep_a_file_from_running() -> None:
    checked = await check(b"{\n" + chat_line("a", "x", model="m") + b"\n" + b"{}\n")
    assert checked == CheckedInput(3, "m", ())


async def test_a_custom_id_that_a_broken_line_has_too_is_twice_there() -> None:
    checked = await check(chat_line("a", "x") + chat_line("a", "x", method="GET"))
    assert [(error.code, error.line) for error in checked.errors] == [("duplicate_custom_id", 2)]


async def test_no_more_than_twenty_repeated_ids_are_named() -> None:
    checked = await check(chat_line("a", "x") * 50)
    assert len(checked.errors) == 20


async def test_a_file_with_too_many_requests_is_refused_where_that_shows() -> None:
    checked = await check(chat_line("a", "x") * 5, max_requests=4)
    assert [error.code for error in checked.errors] == ["too_many_requests"]
