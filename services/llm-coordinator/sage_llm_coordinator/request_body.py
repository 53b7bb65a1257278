"""The OpenAI body for a request that came typed, over gRPC."""

from __future__ import annotations

from typing import Any

import orjson
from google.protobuf import json_format, struct_pb2

from sage.inference.v1 import generation_pb2
from sage_common.errors import InvalidRequestError

# A float32 holds seven digits; more would turn 0.7 into 0.699999988.
_FLOAT32_DIGITS = 7
_RESERVED = ("model", "messages", "prompt", "stream", "stream_options", "n")


def streaming_body(model: str, content: dict[str, Any], parameters: generation_pb2.GenerationParameters) -> bytes:
    """Return the body that asks for a stream with its usage.

    Args:
        content: ``messages`` or ``prompt``.

    Raises:
        InvalidRequestError: an extra field that the typed request sets itself.
    """
    value: dict[str, Any] = {
        "model": model,
        **content,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    for name in ("max_tokens", "seed"):
        if parameters.HasField(name):
            value[name] = getattr(parameters, name)
    for name in ("temperature", "top_p"):
        if parameters.HasField(name):
            value[name] = float(f"{getattr(parameters, name):.{_FLOAT32_DIGITS}g}")
    if parameters.stop:
        value["stop"] = list(parameters.stop)
    for name, extra in _plain(parameters.extra).items():
        if name in _RESERVED:
            raise InvalidRequestError(
                f"'extra' may not set {name!r}, which the typed request sets itself", param="parameters.extra"
            )
        value[name] = extra
    return orjson.dumps(value)


def _plain(struct: struct_pb2.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = _whole_numbers(json_format.MessageToDict(struct))
    return plain


def _whole_numbers(value: Any) -> Any:
    """A Struct knows one kind of number; engines want ``top_k: 5``, not ``5.0``."""
    if isinstance(value, dict):
        return {name: _whole_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
