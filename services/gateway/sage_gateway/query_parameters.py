"""Parameters of a request's query: each is declared once, which reads it and says in the API's description what it is.

``of`` raises InvalidRequestError for a value that the parameter does not have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request

from sage_common.errors import InvalidRequestError

_TRUTH = {"": False, "true": True, "1": True, "false": False, "0": False}
_MOST_COUNT_DIGITS = 9
_MOST_SEQUENCE_DIGITS = 18


class QueryParameter(Protocol):
    """A parameter; ``schema`` is the JSON Schema of its values, ``about`` what it does."""

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> str: ...

    @property
    def schema(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false; false where it is not given."""

    name: str
    about: str = ""

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "boolean", "default": False}

    def of(self, request: Request) -> bool:
        """Return whether it is set."""
        value = request.query_params.get(self.name, "")
        if value.lower() not in _TRUTH:
            raise InvalidRequestError(
                f"{self.name} is {value[:64]!r}; write {self.name}=true or {self.name}=false", param=self.name
            )
        return _TRUTH[value.lower()]


@dataclass(frozen=True, slots=True)
class Count:
    """A whole number from ``least``.

    Attributes:
        what: of what it is a number, for people.
        most: None for no other bound than that of the digits.
    """

    name: str
    what: str
    default: int = 0
    about: str = ""
    least: int = 0
    most: int | None = None

    @property
    def schema(self) -> dict[str, Any]:
        most = 10**_MOST_COUNT_DIGITS - 1 if self.most is None else self.most
        return {"type": "integer", "minimum": self.least, "maximum": most, "default": self.default}

    def of(self, request: Request) -> int:
        """Return the number."""
        found = _number(request, self.name, f"a number of {self.what}", self.default, _MOST_COUNT_DIGITS)
        if self.most is not None and not self.least <= found <= self.most:
            raise InvalidRequestError(
                f"{self.name} is {found}; write a number from {self.least} to {self.most}", param=self.name
            )
        return found


@dataclass(frozen=True, slots=True)
class Sequence:
    """A place in a stream; 0, its beginning, where it is not given."""

    name: str
    about: str = ""

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": 0, "maximum": 10**_MOST_SEQUENCE_DIGITS - 1, "default": 0}

    def of(self, request: Request) -> int:
        """Return the place."""
        return _number(request, self.name, "a sequence that an earlier answer gave", 0, _MOST_SEQUENCE_DIGITS)


@dataclass(frozen=True, slots=True)
class Text:
    """Any text; ``many`` where it may be there several times."""

    name: str
    about: str = ""
    many: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "string"}} if self.many else {"type": "string"}

    def of(self, request: Request) -> str:
        """Return the text; empty where it is not given."""
        return request.query_params.get(self.name, "")

    def all_of(self, request: Request) -> list[str]:
        """Return the texts in their order."""
        return request.query_params.getlist(self.name)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words; the first where it is not given."""

    name: str
    among: tuple[str, ...]
    about: str = ""

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.among), "default": self.among[0]}

    def of(self, request: Request) -> str:
        """Return the word."""
        value = request.query_params.get(self.name, self.among[0])
        if value not in self.among:
            *others, last = self.among
            raise InvalidRequestError(
                f"{self.name} is {value[:40]!r}; write {', '.join(others)} or {last}", param=self.name
            )
        return value


@dataclass(frozen=True, slots=True)
class Seconds:
    """A time above 0."""

    name: str
    default: float
    most: float
    about: str = ""

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "number", "exclusiveMinimum": 0, "maximum": self.most, "default": self.default}

    def of(self, request: Request) -> float:
        """Return the seconds."""
        value = request.query_params.get(self.name)
        if value is None:
            return self.default
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds <= self.most:
            raise InvalidRequestError(
                f"{self.name} is {value[:64]!r}; write seconds, up to {self.most:g}", param=self.name
            )
        return seconds


# Of an operation that reads no parameter and refuses none.
ANY: tuple[QueryParameter, ...] | None = None


def refuse_unknown(request: Request, known: Iterable[QueryParameter] | None) -> None:
    """Raise InvalidRequestError for a parameter that is none of ``known``; ``param`` names it. None knows all."""
    if known is None:
        return
    names = [parameter.name for parameter in known]
    for name in request.query_params:
        if name not in names:
            there = f"; known are {', '.join(names)}" if names else ""
            raise InvalidRequestError(
                f"{name[:80]!r} is not a parameter that is known here; leave it out{there}",
                code="unknown_parameter",
                param=name[:80],
            )


def _number(request: Request, name: str, what: str, default: int, most_digits: int) -> int:
    value = request.query_params.get(name, str(default))
    if not (value.isascii() and value.isdecimal()) or len(value) > most_digits:
        raise InvalidRequestError(f"{name} is {value[:64]!r}; write {what}", param=name)
    return int(value)
