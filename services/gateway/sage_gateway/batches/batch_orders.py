"""The body of ``POST /v1/batches``, read so that every field is taken or refused by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import MaxLen
from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from sage_common.errors import InvalidRequestError
from sage_gateway.dialects.fields import Fields
from sage_gateway.files.file_record import DEFAULT_LIFETIME_SECONDS, OUTPUT_PURPOSE
from sage_gateway.files.upload_orders import (
    LONGEST_LIFETIME_SECONDS,
    SHORTEST_LIFETIME_SECONDS,
    checked_lifetime,
)

_WINDOW = re.compile(r"([1-9]\d{0,4})([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST_WINDOW_SECONDS = 7 * 86_400
MOST_METADATA = 16
MAX_KEY_CHARACTERS = 64
MAX_VALUE_CHARACTERS = 512

Metadata = Annotated[
    dict[Annotated[str, MaxLen(MAX_KEY_CHARACTERS)], Annotated[str, MaxLen(MAX_VALUE_CHARACTERS)]],
    MaxLen(MOST_METADATA),
]


class OutputLifetime(TypedDict):
    """How long the output files stay."""

    anchor: NotRequired[Literal["created_at"] | None]
    seconds: Annotated[int, Field(ge=SHORTEST_LIFETIME_SECONDS, le=LONGEST_LIFETIME_SECONDS)]


class BatchOrderBody(TypedDict):
    """Body of ``POST /v1/batches``; the window is ``24h``, or another time of up to 7 days such as ``90m``."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: NotRequired[Metadata | None]
    output_expires_after: NotRequired[OutputLifetime | None]


class BatchOrder(NamedTuple):
    """What is asked for."""

    input_file_id: str
    endpoint: str
    completion_window: str
    window_seconds: int
    metadata: dict[str, str] | None
    output_lifetime_seconds: int


def read_batch_order(value: dict[str, Any], endpoints: Sequence[str]) -> BatchOrder:
    """Read a parsed body. Raises InvalidRequestError; ``param`` names the field."""
    fields = Fields(value)
    endpoint = fields.required_text("endpoint")
    if endpoint not in endpoints:
        raise InvalidRequestError(
            f"'endpoint' is {endpoint[:80]!r}; batches are run here for {', '.join(endpoints)}",
            code="unsupported_endpoint",
            param="endpoint",
        )
    window = fields.required_text("completion_window")
    order = BatchOrder(
        fields.required_text("input_file_id"),
        endpoint,
        window,
        _window_seconds(window),
        read_metadata(fields.mapping("metadata")),
        _output_lifetime(fields.inner("output_expires_after")),
    )
    fields.finish()
    return order


def read_metadata(given: dict[str, Any] | None) -> dict[str, str] | None:
    """Return the labels that a caller gives to something. Raises InvalidRequestError."""
    if given is None:
        return None
    if len(given) > MOST_METADATA:
        raise InvalidRequestError(
            f"'metadata' has {len(given)} keys, at most {MOST_METADATA} are kept", param="metadata"
        )
    for key, value in given.items():
        if len(key) > MAX_KEY_CHARACTERS or not isinstance(value, str) or len(value) > MAX_VALUE_CHARACTERS:
            raise InvalidRequestError(
                f"'metadata.{key[:80]}' must be a string of at most {MAX_VALUE_CHARACTERS} characters under a key of "
                f"at most {MAX_KEY_CHARACTERS}",
                param="metadata",
            )
        if not _is_text(key + value):
            raise InvalidRequestError("'metadata' holds half a character (a lone surrogate)", param="metadata")
    return given


def _is_text(value: str) -> bool:
    """Whether a string can be written as UTF-8: JSON may escape halves of characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _window_seconds(window: str) -> int:
    found = _WINDOW.fullmatch(window)
    seconds = int(found[1]) * _UNIT_SECONDS[found[2]] if found else 0
    if not 0 < seconds <= LONGEST_WINDOW_SECONDS:
        raise InvalidRequestError(
            f"'completion_window' is {window[:40]!r}; write '24h', or another time of up to 7 days such as '90m'",
            param="completion_window",
        )
    return seconds


def _output_lifetime(given: Fields | None) -> int:
    if given is None:
        return DEFAULT_LIFETIME_SECONDS[OUTPUT_PURPOSE]
    given.choice("anchor", ("created_at",))
    seconds = checked_lifetime(given.whole("seconds"), given.at("seconds"))
    given.finish()
    return seconds
