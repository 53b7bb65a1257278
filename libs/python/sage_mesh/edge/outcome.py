"""What becomes of one frame at its edge, and the errors that an edge ends requests with."""

from __future__ import annotations

from enum import Enum, auto

from sage.inference.v1 import frame_pb2
from sage_common.errors import EngineFailedError, TooLargeError, UnavailableError

EDGE_STOPPING = "edge_stopping"


def stream_interrupted(reason: str) -> EngineFailedError:
    """Return the error for an answer of which a part is missing."""
    return EngineFailedError(f"{reason}; send the request again", code="stream_interrupted")


def edge_stopping() -> UnavailableError:
    """Return the error that ends what is in flight where an edge stops, which takes nothing else in its place."""
    return UnavailableError("this edge is stopping; send the request again", code=EDGE_STOPPING, retryable=True)


class Outcome(Enum):
    """What a frame did to its request."""

    TAKEN = auto()
    DROPPED = auto()
    # Dropped, and its attempt is not read and may be stopped.
    UNWANTED = auto()
    # Taken; its executor is to hear how far the consumer has come.
    TO_ACKNOWLEDGE = auto()
    # The answer is complete, or its error final.
    ENDED = auto()
    # The attempt is broken; ``EdgeRequest.failure`` says why.
    BROKEN = auto()
    # More of the answer waits for its consumer than may; ``EdgeRequest.failure`` says so.
    OVERRUN = auto()


def unread(frame: frame_pb2.Frame) -> Outcome:
    """Return the outcome for a frame of an attempt that is not read: one that begins is to be stopped."""
    return Outcome.UNWANTED if frame.HasField("head") and not frame.HasField("end") else Outcome.DROPPED


def answer_not_read(unread_bytes: int, limit_bytes: int) -> TooLargeError:
    """Return the error of an answer that its consumer leaves unread."""
    return TooLargeError(
        f"{unread_bytes} bytes of the answer wait to be read, the limit is {limit_bytes}; read the stream as it comes",
        code="answer_not_read",
    )
