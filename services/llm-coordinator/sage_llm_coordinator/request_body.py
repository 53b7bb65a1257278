"""The OpenAI body for a request that came typed, over gRPC."""

from __future__ import annotations

from typing import Any, Final

import orjson

from sage.inference.v1 import generation_pb2
from sage_mesh.wire.generation import generation_fields

# Fields that a typed request to the coordinator says by itself: it is always one streamed answer with its usage.
_RESERVED: Final = ("stream_options", "n")


def streaming_body(model: str, content: dict[str, Any], parameters: generation_pb2.GenerationParameters) -> bytes:
    """Return the body that asks for a stream with its usage.

    Args:
        content: ``messages`` or ``prompt``.

    Raises:
        InvalidRequestError: an extra field that the typed request sets itself.
    """
    body = {
        **generation_fields(parameters, _RESERVED),
        "model": model,
        **content,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return orjson.dumps(body)
