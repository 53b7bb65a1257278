from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from sage.inference.v1 import frame_pb2
from sage_mesh.wire.data_frames import DataFrames
from sage_platform.protobuf_framing import varint

uint32 = st.integers(0, 2**32 - 1)


@given(
    st.text(max_size=200),
    uint32,
    st.integers(0, 2**64 - 1),
    st.integers(1, 2**32 - 1),
    st.binary(min_size=1, max_size=300),
    st.lists(uint32, max_size=60),
)
@example("id", 0, 0, 0x80, b"x" * 0x80, [])
@example("id", 1, 1 << 40, 0x3FFF, b"x" * 0x3FFF, [0])
@example("id", 1, 1 << 40, 0x4000, b"x" * 0x4000, [1, 0x7F, 0x80, 0x4000])
def test_a_data_frame_is_what_protobuf_writes(
    request_id: str, submission: int, dispatch: int, seq: int, data: bytes, token_ids: list[int]
) -> None:
    attempt = frame_pb2.Attempt(submission=submission, dispatch=dispatch)
    frame = frame_pb2.Frame(request_id=request_id, attempt=attempt, seq=seq, data=data, token_ids=token_ids)
    assert DataFrames(request_id, attempt).write(seq, data, token_ids) == frame.SerializeToString()


@given(st.integers(0, 2**64 - 1))
def test_a_number_is_written_as_protobuf_does(value: int) -> None:
    written = frame_pb2.Attempt(dispatch=value).SerializeToString()
    assert written == (b"\x10" + varint(value) if value else b"")
    assert varint(0) == b"\0"
