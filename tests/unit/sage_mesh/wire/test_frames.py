"""What frames say of an answer, through the wire and back."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from sage.inference.v1 import frame_pb2
from sage_common.errors import EngineFailedError
from sage_control_plane.request.request import Attempt
from sage_mesh.reply import EngineTime, Media, ReplyHead, TokenUsage
from sage_mesh.wire.errors import error_from_wire
from sage_mesh.wire.frames import (
    end_to_wire,
    error_frame,
    head_from_wire,
    head_to_wire,
    usage_from_wire,
    usage_to_wire,
)

uint32 = st.integers(0, 2**32 - 1)
names = st.text(max_size=20)
times = st.builds(EngineTime, uint32, uint32, uint32)
heads = st.builds(
    ReplyHead,
    st.sampled_from(Media),
    names,
    uint32.map(lambda us: us / 1000),
    uint32,
    names,
    uint32,
    uint32,
    st.booleans(),
    st.booleans(),
)


@given(heads)
def test_a_head_survives_the_wire(head: ReplyHead) -> None:
    assert head_from_wire(head_to_wire(head)) == head


@given(st.builds(TokenUsage, uint32, uint32, uint32, uint32, times))
def test_usage_survives_the_wire(usage: TokenUsage) -> None:
    back = usage_from_wire(usage_to_wire(usage))
    assert (back, back.engine_time) == (usage, usage.engine_time)


def test_no_field_of_usage_is_left_out() -> None:
    assert {f.name for f in fields(TokenUsage)} == set(frame_pb2.Usage.DESCRIPTOR.fields_by_name)
    assert {f.name for f in fields(EngineTime)} == set(frame_pb2.EngineTime.DESCRIPTOR.fields_by_name)


def test_an_end_has_the_usage_and_the_error_where_there_is_one() -> None:
    error = EngineFailedError("it broke", code="broken")
    end = end_to_wire(TokenUsage(3, 2), error)
    assert (end.usage.prompt_tokens, error_from_wire(end.error).code) == (3, "broken")
    assert not end_to_wire(TokenUsage(3, 2)).HasField("error")


def test_a_refusal_is_the_one_frame_of_its_attempt() -> None:
    frame = error_frame("r", Attempt(2, 5), EngineFailedError("no"))
    assert (frame.request_id, frame.attempt.submission, frame.attempt.dispatch, frame.seq) == ("r", 2, 5, 0)
    assert frame.end.error.message == "no"
    assert not frame.HasField("head")
