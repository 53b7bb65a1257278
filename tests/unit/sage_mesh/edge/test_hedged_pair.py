"""Two attempts at a request at once: in whatever order their frames come, the client gets the bytes of one of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage.inference.v1 import frame_pb2, request_pb2
from sage_common.errors import EngineFailedError, InternalError, SageError
from sage_mesh.edge.edge_request import EdgeRequest
from sage_mesh.edge.outcome import Outcome
from sage_mesh.reply import Media, Reply
from sage_mesh.wire.errors import error_to_wire

FIRST, HEDGE = 5, 6
BUG = error_to_wire(InternalError("a bug"))
BROKE_OFF = error_to_wire(EngineFailedError("it broke off", retryable=True))


def frame(
    dispatch: int,
    seq: int,
    data: bytes = b"",
    *,
    begins: bool = False,
    ends: bool = False,
    error: frame_pb2.ErrorDetail | None = None,
    media: Media = Media.JSON,
    submission: int = 1,
) -> frame_pb2.Frame:
    """A frame as the executor of that dispatch sends it."""
    made = frame_pb2.Frame(
        request_id="r", attempt=frame_pb2.Attempt(submission=submission, dispatch=dispatch), seq=seq, data=data
    )
    if begins:
        made.head.media = int(media)  # type: ignore[assignment]
        made.head.engine_id = f"engine-{dispatch}"
        made.head.tries = dispatch - FIRST + 1
    if ends or error is not None:
        made.end.CopyFrom(frame_pb2.FrameEnd(error=error))
    if dispatch == HEDGE and (begins or made.HasField("end")):
        made.beside = FIRST
    return made


def notice() -> frame_pb2.Frame:
    """The scheduler's word of the hedge."""
    return frame_pb2.Frame(
        request_id="r",
        attempt=frame_pb2.Attempt(submission=1, dispatch=HEDGE),
        head=frame_pb2.FrameHead(engine_id=f"engine-{HEDGE}", tries=2),
        held=True,
        beside=FIRST,
    )


def answer(dispatch: int, pieces: list[bytes], media: Media = Media.JSON) -> list[frame_pb2.Frame]:
    """The frames of a whole answer; its last piece comes with its end."""
    last = len(pieces) - 1
    return [
        frame(dispatch, seq, piece, begins=seq == 0, ends=seq == last, media=media) for seq, piece in enumerate(pieces)
    ]


@dataclass
class Client:
    """A request, what its edge does with frames, and what its client reads."""

    request: EdgeRequest = field(init=False)
    received: bytes = b""
    stopped: list[int] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        message = request_pb2.InferenceRequest(request_id="r", endpoint=1, body=b"{}", submission=1)
        self.request = EdgeRequest(message, Reply("r", lambda _reason: None), 0.0, 60.0, 0.0)

    def give(self, *frames: frame_pb2.Frame, reads: bool = False) -> Outcome:
        for item in frames:
            if self.request.reply.ended:
                # The edge knows the request no more.
                self.outcomes.append(Outcome.DROPPED)
            elif item.held:
                self.request.on_notice(item, 0.0)
                continue
            else:
                self.outcomes.append(self.request.on_frame(item, 0.0))
            if self.outcomes[-1] is Outcome.UNWANTED:
                self.stopped.append(item.attempt.dispatch)
            if reads:
                self.read()
        return self.outcomes[-1] if self.outcomes else Outcome.DROPPED

    def read(self) -> bytes:
        self.received += self.request.reply.take()
        return self.received

    @property
    def error(self) -> SageError | None:
        return self.request.reply._error


@st.composite
def interleaved(draw: st.DrawFn, *streams: list[frame_pb2.Frame]) -> list[frame_pb2.Frame]:
    """The frames of all streams, each in its own order."""
    order = draw(st.permutations([number for number, stream in enumerate(streams) for _ in stream]))
    left = [iter(stream) for stream in streams]
    return [next(left[number]) for number in order]


PIECES = st.integers(1, 5)
KINDS = st.sampled_from([Media.JSON, Media.EVENT_STREAM, Media.VECTORS_FLOAT])


@given(st.data(), PIECES, PIECES, KINDS, st.booleans())
def test_in_any_order_of_their_frames_the_client_gets_the_bytes_of_exactly_one_attempt(
    data: st.DataObject, first_pieces: int, hedge_pieces: int, media: Media, told: bool
) -> None:
    bodies = {
        FIRST: [b"data: first %d\n\n" % number for number in range(first_pieces)],
        HEDGE: [b"data: hedge %d\n\n" % number for number in range(hedge_pieces)],
    }
    streams = [answer(dispatch, pieces, media) for dispatch, pieces in bodies.items()]
    client = Client()
    order = data.draw(interleaved(*streams, [notice()] if told else []))
    for item in order:
        client.give(item, reads=data.draw(st.booleans()))
    client.read()
    won = order[0].attempt.dispatch if not order[0].held else order[1].attempt.dispatch
    assert client.received == b"".join(bodies[won])
    assert client.request.reply.ended
    assert client.error is None
    assert client.outcomes.count(Outcome.ENDED) == 1
    assert Outcome.BROKEN not in client.outcomes
    assert set(client.stopped) <= {FIRST, HEDGE} - {won}


@given(st.data(), PIECES, st.sampled_from([FIRST, HEDGE]))
def test_an_error_of_one_attempt_does_not_end_the_answer_of_the_other(
    data: st.DataObject, pieces: int, failing: int
) -> None:
    answering = FIRST + HEDGE - failing
    body = [b"piece %d" % number for number in range(pieces)]
    client = Client()
    client.give(frame(failing, 0, error=BUG) if failing == HEDGE else notice(), answer(answering, body)[0])
    late = [frame(failing, 0, error=BUG)] if failing == FIRST else []
    for item in data.draw(interleaved(answer(answering, body)[1:], late)):
        client.give(item, reads=data.draw(st.booleans()))
    client.read()
    assert client.received == b"".join(body)
    assert client.error is None


def begins(dispatch: int) -> frame_pb2.Frame:
    return frame(dispatch, 0, b"%d." % dispatch, begins=True)


def ends(dispatch: int, seq: int = 1) -> frame_pb2.Frame:
    return frame(dispatch, seq, b"%d!" % dispatch, ends=True)


@pytest.mark.parametrize("read", [False, True], ids=["unread", "read"])
@pytest.mark.parametrize(
    ("frames", "expected", "stopped"),
    [
        ([notice(), begins(FIRST), begins(HEDGE), ends(FIRST)], b"5.5!", [HEDGE]),
        ([notice(), begins(HEDGE), begins(FIRST), ends(HEDGE)], b"6.6!", [FIRST]),
        # Without the scheduler's word the hedge's own frames tell.
        ([begins(FIRST), begins(HEDGE), ends(HEDGE), ends(FIRST)], b"5.5!", [HEDGE]),
        ([begins(HEDGE), begins(FIRST), ends(FIRST), ends(HEDGE)], b"6.6!", [FIRST]),
        # The loser is over before anybody could stop it.
        ([begins(FIRST), *answer(HEDGE, [b"whole"]), ends(FIRST)], b"5.5!", []),
        # The loser ends in an error, of which another engine makes nothing or which it might mend.
        ([begins(FIRST), begins(HEDGE), frame(HEDGE, 1, error=BUG), ends(FIRST)], b"5.5!", [HEDGE]),
        ([begins(FIRST), begins(HEDGE), frame(HEDGE, 1, error=BROKE_OFF), ends(FIRST)], b"5.5!", [HEDGE]),
        ([begins(HEDGE), frame(FIRST, 0, error=BUG), ends(HEDGE)], b"6.6!", []),
        # A hedge fails before the attempt beside which it runs has begun, or the other way round.
        ([frame(HEDGE, 0, error=BUG), begins(FIRST), ends(FIRST)], b"5.5!", []),
        ([notice(), frame(FIRST, 0, error=BUG), begins(HEDGE), ends(HEDGE)], b"6.6!", []),
        # A part of the loser is lost on the way.
        ([begins(FIRST), begins(HEDGE), frame(HEDGE, 3, b"x"), ends(FIRST)], b"5.5!", [HEDGE]),
        # The word of the hedge comes after the first bytes.
        ([begins(FIRST), notice(), begins(HEDGE), ends(FIRST)], b"5.5!", [HEDGE]),
    ],
)
def test_one_attempt_is_the_answer(
    frames: list[frame_pb2.Frame], expected: bytes, stopped: list[int], read: bool
) -> None:
    client = Client()
    client.give(*frames, reads=read)
    assert client.read() == expected
    assert client.request.reply.ended
    assert client.error is None
    assert client.stopped == stopped


@pytest.mark.parametrize("order", [(FIRST, HEDGE), (HEDGE, FIRST)])
def test_when_both_have_failed_the_later_error_is_the_answer(order: tuple[int, int]) -> None:
    client = Client()
    client.give(notice(), frame(order[0], 0, error=BUG))
    assert not client.request.reply.ended
    assert client.give(frame(order[1], 0, error=BUG)) is Outcome.ENDED
    assert client.error is not None
    assert client.error.message == "a bug"


def test_an_error_told_twice_is_not_the_error_of_both() -> None:
    client = Client()
    client.give(notice(), frame(FIRST, 0, error=BUG), frame(FIRST, 0, error=BUG))
    assert not client.request.reply.ended


def test_the_schedulers_refusal_ends_a_request_of_which_one_attempt_has_failed_here() -> None:
    client = Client()
    client.give(notice(), frame(FIRST, 0, error=BUG))
    assert client.give(frame(HEDGE + 1, 0, error=BUG)) is Outcome.ENDED
    assert client.error is not None


def test_an_error_before_any_word_of_a_hedge_is_the_answer() -> None:
    client = Client()
    assert client.give(frame(FIRST, 0, error=BUG)) is Outcome.ENDED


def test_a_retry_after_both_were_lost_replaces_what_had_begun_and_was_not_read() -> None:
    client = Client()
    client.give(notice(), begins(HEDGE))
    client.give(*answer(HEDGE + 1, [b"third"]))
    assert client.read() == b"third"


def test_a_winner_that_breaks_off_is_submitted_again_and_frames_of_both_are_late_then() -> None:
    client = Client()
    client.give(notice(), begins(HEDGE), begins(FIRST))
    assert client.give(frame(HEDGE, 1, error=BROKE_OFF)) is Outcome.BROKEN
    client.request.supersede()
    assert client.give(ends(FIRST)) is Outcome.DROPPED
    assert client.give(begins(FIRST)) is Outcome.UNWANTED
    assert list(client.request.sent.avoided_engines) == [f"engine-{HEDGE}"]
    client.give(notice())
    again = frame(HEDGE + 1, 0, b"again", begins=True, ends=True, submission=2)
    assert client.give(again) is Outcome.ENDED
    assert client.read() == b"again"


@pytest.mark.parametrize(
    ("frames", "tries"), [([notice(), begins(FIRST)], 2), ([begins(FIRST)], 1), ([begins(HEDGE)], 2)]
)
def test_a_reply_counts_both_attempts(frames: list[frame_pb2.Frame], tries: int) -> None:
    client = Client()
    client.give(*frames)
    head = client.request.reply._head
    assert head is not None
    assert head.tries == tries
