"""Usage and completeness from a stream's last bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_llm_coordinator.engines.usage_scan import TAIL_BYTES, StreamTail
from sage_mesh.reply import TokenUsage

STREAM = (
    b'data: {"choices":[{"delta":{"content":"\\"usage\\":{\\"prompt_tokens\\":99}"}}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":4,'
    b'"prompt_tokens_details":{"cached_tokens":8}}}\n\ndata: [DONE]\n\n'
)


def tail_of(*pieces: bytes) -> StreamTail:
    tail = StreamTail()
    for piece in pieces:
        tail.take(piece)
    return tail


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_usage_is_found_wherever_the_stream_is_cut(places: list[int]) -> None:
    bounds = [0, *sorted(places), len(STREAM)]
    tail = tail_of(*(STREAM[start:end] for start, end in pairwise(bounds)))
    assert tail.usage() == TokenUsage(12, 4, 8)
    assert tail.done


def test_text_that_looks_like_usage_is_none() -> None:
    assert tail_of(STREAM.split(b"\n\n", 1)[0]).usage() == TokenUsage()


def test_the_last_usage_of_several_counts() -> None:
    running = [b'data: {"usage":{"prompt_tokens":1,"completion_tokens":%d}}\n\n' % n for n in range(500)]
    assert tail_of(*running, b"data: [DONE]\r\n\r\n").usage() == TokenUsage(1, 499)


def test_one_piece_longer_than_the_tail_is_enough() -> None:
    assert tail_of(b"x" * 3 * TAIL_BYTES + STREAM).done


@pytest.mark.parametrize("end", [b"", b'data: {"text":"data: [DONE]"}\n\n', b"data: [DO"])
def test_a_stream_without_its_end_is_not_done(end: bytes) -> None:
    assert not tail_of(STREAM[:-16] + end).done
