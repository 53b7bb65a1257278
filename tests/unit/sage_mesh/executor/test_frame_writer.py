"""What of an answer shares a frame: a document's last bytes and its end; a stream's events leave at once."""

from __future__ import annotations

import pytest

from sage.inference.v1 import frame_pb2, request_pb2
from sage_common.errors import EngineFailedError
from sage_mesh.executor.frame_writer import MAX_FRAME_BYTES, FrameWriter
from sage_mesh.reply import Media, TokenUsage

DOCUMENTS = [media for media in Media if media is not Media.EVENT_STREAM]


class SentFrames:
    """A ring that keeps what is sent."""

    def __init__(self) -> None:
        self.frames: list[frame_pb2.Frame] = []

    def send(self, _subject: str, frame: frame_pb2.Frame) -> None:
        self.frames.append(frame_pb2.Frame.FromString(frame.SerializeToString()))

    def send_item(self, _subject: str, item: bytes, *, may_wait: bool = False) -> None:
        self.frames.append(frame_pb2.Frame.FromString(item))

    @property
    def data(self) -> bytes:
        return b"".join(frame.data for frame in self.frames)


@pytest.fixture
def ring() -> SentFrames:
    return SentFrames()


@pytest.fixture
def writer(ring: SentFrames) -> FrameWriter:
    dispatch = frame_pb2.Dispatch(request=request_pb2.InferenceRequest(request_id="r", reply_subject="edge"))
    return FrameWriter(ring, dispatch)  # type: ignore[arg-type]


@pytest.mark.parametrize("media", DOCUMENTS)
def test_a_document_is_one_frame(ring: SentFrames, writer: FrameWriter, media: Media) -> None:
    writer.head(media)
    writer.usage(TokenUsage(3, 4))
    writer.data(b"{}")
    assert ring.frames == []
    writer.finish()
    (frame,) = ring.frames
    assert (frame.seq, frame.head.media, frame.data, frame.end.usage.completion_tokens) == (0, media, b"{}", 4)


def test_events_leave_at_once(ring: SentFrames, writer: FrameWriter) -> None:
    writer.head(Media.EVENT_STREAM)
    writer.data(b"data: a\n\n")
    assert [frame.data for frame in ring.frames] == [b"data: a\n\n"]
    writer.finish()
    assert [frame.HasField("end") for frame in ring.frames] == [False, True]


@pytest.mark.parametrize("media", Media)
@pytest.mark.parametrize(
    "sizes", [(), (1,), (MAX_FRAME_BYTES,), (MAX_FRAME_BYTES + 1,), (5, 2 * MAX_FRAME_BYTES, 0, 7)]
)
def test_all_bytes_come_in_order_and_one_frame_ends_them(
    ring: SentFrames, writer: FrameWriter, media: Media, sizes: tuple[int, ...]
) -> None:
    pieces = [bytes([number + 65]) * size for number, size in enumerate(sizes)]
    writer.head(media)
    for piece in pieces:
        writer.data(piece)
    writer.finish()
    assert ring.data == b"".join(pieces)
    assert [frame.seq for frame in ring.frames] == list(range(len(ring.frames)))
    assert [frame.HasField("head") for frame in ring.frames] == [True] + [False] * (len(ring.frames) - 1)
    assert [frame.HasField("end") for frame in ring.frames] == [False] * (len(ring.frames) - 1) + [True]
    assert all(len(frame.data) <= MAX_FRAME_BYTES for frame in ring.frames)


def test_a_document_that_fails_is_followed_by_its_error(ring: SentFrames, writer: FrameWriter) -> None:
    writer.head(Media.JSON)
    writer.data(b'{"choices":')
    writer.fail(EngineFailedError("it broke off", retryable=True))
    (frame,) = ring.frames
    assert frame.data == b'{"choices":'
    assert frame.end.error.message == "it broke off"
