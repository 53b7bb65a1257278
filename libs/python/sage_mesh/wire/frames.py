"""What frames say of an answer ↔ protobuf: its head, its usage, its end."""

from __future__ import annotations

from typing import Final

from sage.inference.v1 import frame_pb2
from sage_common.errors import SageError
from sage_control_plane.request.request import Attempt
from sage_mesh.reply import NO_TIME, EngineTime, Media, ReplyHead, TokenUsage
from sage_mesh.wire.errors import error_to_wire
from sage_mesh.wire.members import Members
from sage_mesh.wire.requests import attempt_to_wire

_MEDIA: Final = Members(Media)


def head_to_wire(head: ReplyHead) -> frame_pb2.FrameHead:
    """Translate the head of an answer."""
    return frame_pb2.FrameHead(
        media=int(head.media),  # type: ignore[arg-type]
        engine_id=head.engine_id,
        queue_us=round(head.queue_ms * 1000),
        tries=head.tries,
        model=head.model,
        vector_count=head.vector_count,
        vector_dimensions=head.vector_dimensions,
        resumable=head.resumable,
        tells_tokens=head.tells_tokens,
    )


def head_from_wire(message: frame_pb2.FrameHead) -> ReplyHead:
    """Translate the head of an answer. Raises ValueError for media that this version does not know."""
    return ReplyHead(
        media=_MEDIA[message.media or Media.JSON],
        engine_id=message.engine_id,
        queue_ms=message.queue_us / 1000,
        tries=message.tries,
        model=message.model,
        vector_count=message.vector_count,
        vector_dimensions=message.vector_dimensions,
        resumable=message.resumable,
        tells_tokens=message.tells_tokens,
    )


def usage_to_wire(usage: TokenUsage) -> frame_pb2.Usage:
    """Translate usage."""
    message = frame_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        truncated_inputs=usage.truncated_inputs,
    )
    time = usage.engine_time
    if time is not NO_TIME and time != NO_TIME:
        message.engine_time.queue_us = time.queue_us
        message.engine_time.tokenize_us = time.tokenize_us
        message.engine_time.inference_us = time.inference_us
    return message


def usage_from_wire(message: frame_pb2.Usage) -> TokenUsage:
    """Translate usage."""
    time = NO_TIME
    if message.HasField("engine_time"):
        sent = message.engine_time
        time = EngineTime(sent.queue_us, sent.tokenize_us, sent.inference_us)
    return TokenUsage(
        message.prompt_tokens, message.completion_tokens, message.cached_tokens, message.truncated_inputs, time
    )


def end_to_wire(usage: TokenUsage, error: SageError | None = None) -> frame_pb2.FrameEnd:
    """Translate the end of an answer, which is an error where there is one."""
    return frame_pb2.FrameEnd(usage=usage_to_wire(usage), error=error_to_wire(error) if error else None)


def error_frame(request_id: str, attempt: Attempt, error: SageError) -> frame_pb2.Frame:
    """Return the one frame of an attempt that ended in an error before an engine began to answer."""
    end = frame_pb2.FrameEnd(error=error_to_wire(error))
    return frame_pb2.Frame(request_id=request_id, attempt=attempt_to_wire(attempt), end=end)
