"""gRPC's typed parameters as fields of the OpenAI request."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from sage.inference.v1 import generation_pb2
from sage_common.errors import InvalidRequestError

# Fields that the typed request has itself.
_TYPED = frozenset({"messages", "prompt", "model", "stream", "options"})


def params_from_wire(parameters: generation_pb2.GenerationParameters) -> dict[str, Any]:
    """Return the fields that were given; a typed one wins over its namesake in ``extra``.

    Raises:
        InvalidRequestError: ``extra`` holds a field that the request has itself.
    """
    extra = json_format.MessageToDict(parameters.extra) if parameters.HasField("extra") else {}
    clash = sorted(_TYPED & extra.keys())
    if clash:
        raise InvalidRequestError(
            f"parameters.extra holds {clash[0]!r}, which the request says by itself; leave it out",
            param=f"parameters.extra.{clash[0]}",
        )
    params: dict[str, Any] = {name: _whole_numbers(value) for name, value in extra.items()}
    for name in ("max_tokens", "temperature", "top_p", "seed"):
        if parameters.HasField(name):
            params[name] = getattr(parameters, name)
    if parameters.stop:
        params["stop"] = list(parameters.stop)
    return params


def _whole_numbers(value: Any) -> Any:
    """A Struct knows only doubles; engines refuse ``5.0`` where they want ``5``."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _whole_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return value
