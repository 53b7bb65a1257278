"""Fields of a parsed JSON body by their types, and the errors for those of a wrong one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sage_common.errors import InvalidRequestError


def optional_string(value: Mapping[str, Any], field: str) -> str:
    """Return a field of text; empty where it is missing or null. Raises InvalidRequestError."""
    given = value.get(field)
    if given is None:
        return ""
    if not isinstance(given, str):
        raise wrong_field(field, given, "a string")
    return given


def optional_bool(value: Mapping[str, Any], field: str) -> bool:
    """Return a field that is true or false; false where it is missing or null. Raises InvalidRequestError."""
    given = value.get(field)
    if given is None:
        return False
    if not isinstance(given, bool):
        raise wrong_field(field, given, "true or false")
    return given


def optional_int(value: Mapping[str, Any], field: str, *, minimum: int) -> int | None:
    """Return a whole number of at least ``minimum``; None where it is missing or null. Raises InvalidRequestError."""
    given = value.get(field)
    if given is None:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or given < minimum:
        raise wrong_field(field, given, f"an integer of at least {minimum}")
    return given


def wrong_field(field: str, value: Any, expected: str) -> InvalidRequestError:
    """Return the error for a field of the wrong shape."""
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    got = "nothing" if value is None else f"the {json_type(value)} {shown}"
    return InvalidRequestError(f"'{field}' must be {expected}; got {got}", code="invalid_type", param=field)


def empty_field(field: str) -> InvalidRequestError:
    """Return the error for an empty field."""
    return InvalidRequestError(f"'{field}' must not be empty", code="empty_input", param=field)


def json_type(value: Any) -> str:
    """Return what JSON calls a parsed value."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def session_key(value: Mapping[str, Any]) -> str:
    """Return the caller's key of a session; empty for none. What is no string is the engine's to judge."""
    for name in ("prompt_cache_key", "user"):
        given = value.get(name)
        if given and isinstance(given, str):
            return given
    return ""
