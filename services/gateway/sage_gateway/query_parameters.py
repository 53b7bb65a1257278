"""Parameters of a request's query, read as what they are. Each raises InvalidRequestError for another value."""

from __future__ import annotations

from starlette.requests import Request

from sage_common.errors import InvalidRequestError

_TRUTH = {"": False, "true": True, "1": True, "false": False, "0": False}
_MOST_DIGITS = 9
_MOST_SEQUENCE_DIGITS = 18


def flag(request: Request, name: str) -> bool:
    """Return whether a flag is set; False where it is not given."""
    value = request.query_params.get(name, "")
    if value.lower() not in _TRUTH:
        raise InvalidRequestError(f"{name} is {value!r}; write {name}=true or {name}=false", param=name)
    return _TRUTH[value.lower()]


def count(request: Request, name: str, what: str, default: int = 0) -> int:
    """Return a whole number from 0.

    Args:
        what: of what it is a number, for people.
    """
    return _number(request, name, f"a number of {what}", default, _MOST_DIGITS)


def sequence(request: Request, name: str) -> int:
    """Return a place in a stream; 0 where it is not given."""
    return _number(request, name, "a sequence that an earlier answer gave", 0, _MOST_SEQUENCE_DIGITS)


def _number(request: Request, name: str, what: str, default: int, most_digits: int) -> int:
    value = request.query_params.get(name, str(default))
    if not (value.isascii() and value.isdecimal()) or len(value) > most_digits:
        raise InvalidRequestError(f"{name} is {value[:64]!r}; write {what}", param=name)
    return int(value)
