"""What frames say of an answer ↔ protobuf."""

from __future__ import annotations

from sage.inference.v1 import frame_pb2
from sage_mesh.reply import EngineTime, TokenUsage

NO_TIME = EngineTime()


def usage_to_wire(usage: TokenUsage) -> frame_pb2.Usage:
    """Translate usage."""
    message = frame_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        truncated_inputs=usage.truncated_inputs,
    )
    time = usage.engine_time
    if time != NO_TIME:
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
