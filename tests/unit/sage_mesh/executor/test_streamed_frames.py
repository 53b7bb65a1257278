"""The frames of a streamed answer, and which of them may wait for those of other answers."""

from __future__ import annotations

from typing import cast

from sage.inference.v1 import frame_pb2, request_pb2
from sage_common.errors import EngineFailedError
from sage_mesh.executor.frame_writer import MAX_FRAME_BYTES, FrameWriter
from sage_mesh.reply import Media
from sage_platform.ring import Message, Ring

DISPATCH = frame_pb2.Dispatch(
    request=request_pb2.InferenceRequest(request_id="r", reply_subject="edge"),
    attempt=frame_pb2.Attempt(submission=1, dispatch=(3 << 32) + 5),
    engine_id="e",
)


class KeepingRing:
    """Keeps what is sent, and whether it may wait."""

    def __init__(self) -> None:
        self.frames: list[frame_pb2.Frame] = []
        self.may_wait: list[bool] = []

    def send(self, subject: str, message: Message) -> None:
        self.send_item(subject, message.SerializeToString())

    def send_item(self, subject: str, item: bytes, *, may_wait: bool = False) -> None:
        assert subject == "edge"
        self.frames.append(frame_pb2.Frame.FromString(item))
        self.may_wait.append(may_wait)


def writer() -> tuple[FrameWriter, KeepingRing]:
    ring = KeepingRing()
    return FrameWriter(cast(Ring, ring), DISPATCH), ring


def test_the_beginning_and_the_end_of_an_answer_leave_at_once_and_what_is_between_may_wait() -> None:
    writing, ring = writer()
    writing.head(Media.EVENT_STREAM)
    for data in (b"a", b"b", b"c"):
        writing.data(data)
    writing.finish()
    assert [frame.data for frame in ring.frames] == [b"a", b"b", b"c", b""]
    assert ring.may_wait == [False, True, True, False]
    assert [frame.seq for frame in ring.frames] == [0, 1, 2, 3]
    assert {frame.request_id for frame in ring.frames} == {"r"}
    assert all(frame.attempt == DISPATCH.attempt for frame in ring.frames)
    assert [frame.HasField("head") for frame in ring.frames] == [True, False, False, False]
    assert [frame.HasField("end") for frame in ring.frames] == [False, False, False, True]


def test_the_word_that_an_answer_has_failed_leaves_at_once() -> None:
    writing, ring = writer()
    writing.head(Media.EVENT_STREAM)
    writing.data(b"a")
    writing.fail(EngineFailedError("it broke"))
    assert ring.may_wait == [False, False]
    assert ring.frames[1].end.error.message == "it broke"


def test_tokens_travel_with_the_data_that_follows_them_and_those_of_large_data_with_its_last_frame() -> None:
    writing, ring = writer()
    writing.head(Media.EVENT_STREAM, tells_tokens=True)
    writing.tokens([1, 2])
    writing.data(b"a")
    writing.tokens([300])
    writing.tokens([70_000])
    large = bytes(range(256)) * (MAX_FRAME_BYTES // 128)
    writing.data(large)
    writing.data(b"")
    writing.data(b"b")
    assert [list(frame.token_ids) for frame in ring.frames] == [[1, 2], [], [300, 70_000], []]
    assert b"".join(frame.data for frame in ring.frames) == b"a" + large + b"b"
    assert [frame.seq for frame in ring.frames] == [0, 1, 2, 3]
