"""gRPC's typed generation requests → fields of the OpenAI body, for the gateway's API and the coordinator's."""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterable
from typing import Any, Final

from google.protobuf import json_format

from sage.inference.v1 import generation_pb2
from sage_common.errors import InvalidRequestError

# Fields that every typed request has of its own.
_TYPED: Final = frozenset({"messages", "prompt", "model", "stream"})
# Significant digits that distinguish every float32 from its neighbours.
_MOST_DIGITS: Final = 9


def generation_fields(
    parameters: generation_pb2.GenerationParameters, reserved: Collection[str] = ()
) -> dict[str, Any]:
    """Return the parameters that were given, as fields of the body.

    A typed one wins over its namesake in ``extra``, and has the decimal that its sender wrote: 0.7 is not 0.699999988.

    Args:
        reserved: fields that ``extra`` may not hold, besides those that every typed request has of its own.

    Raises:
        InvalidRequestError: ``extra`` holds one of them, or a number is not finite.
    """
    try:
        extra = json_format.MessageToDict(parameters.extra) if parameters.HasField("extra") else {}
    except json_format.SerializeToJsonError:
        raise _not_finite("extra") from None
    clash = sorted(extra.keys() & (_TYPED | frozenset(reserved)))
    if clash:
        raise InvalidRequestError(
            f"parameters.extra holds {clash[0]!r}, which the request says by itself; leave it out",
            param=f"parameters.extra.{clash[0]}",
        )
    fields: dict[str, Any] = {name: _whole_numbers(value) for name, value in extra.items()}
    # ListFields gives a field of explicit presence where it was set, even to 0.
    for field, value in parameters.ListFields():
        if field.name == "extra":
            continue
        if isinstance(value, float):
            if not math.isfinite(value):
                raise _not_finite(field.name)
            value = shortest_float32(value)
        fields[field.name] = value if isinstance(value, (int, float, str)) else list(value)
    return fields


def _not_finite(field: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"parameters.{field} holds NaN or an infinite number, which JSON has not", param=f"parameters.{field}"
    )


def chat_messages(messages: Iterable[generation_pb2.ChatMessage]) -> list[dict[str, str]]:
    """Return the turns of a conversation as OpenAI's messages."""
    return [
        {"role": message.role, "content": message.content, **({"name": message.name} if message.name else {})}
        for message in messages
    ]


def shortest_float32(value: float) -> float:
    """Return the number of the shortest decimal that reads back as the same float32.

    A number of up to six significant digits that was sent as a float32 comes out as it was written.
    """
    sent = struct.pack("<f", value)
    for digits in range(1, _MOST_DIGITS):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.pack("<f", short) == sent:
                return short
        except OverflowError:  # rounded up, beyond the largest float32
            continue
    return float(f"{value:.{_MOST_DIGITS}g}")


def _whole_numbers(value: Any) -> Any:
    """A Struct knows only doubles; engines refuse ``5.0`` where they want ``5``."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _whole_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return value
