"""Reading the objects of a request so that every field is taken or refused by name. Null is absent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from sage_common.errors import InvalidRequestError
from sage_control_plane.request.body_fields import wrong_field
from sage_mesh import exact_json

T = TypeVar("T")


def read_object(body: bytes) -> dict[str, Any]:
    """Parse a body. Raises InvalidRequestError for what is no JSON object."""
    try:
        value = exact_json.read(body)
    except ValueError as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise InvalidRequestError("the body is no JSON object", code="invalid_json")
    return value


def not_served(path: str, why: str) -> InvalidRequestError:
    """Return the error for a field that the API has and this gateway does not serve."""
    return InvalidRequestError(f"'{path}' is not served here: {why}", code="unsupported_parameter", param=path)


class Fields:
    """The fields of one object. Each method that returns one takes it; ``finish`` refuses those that nobody took.

    Args:
        path: of the object in the body, for errors; empty for the body itself.

    Raises:
        InvalidRequestError: from every method, for a value of the wrong shape; ``param`` names it.
    """

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, dict):
            raise wrong_field(path, value, "an object")
        self.path = path
        self._left = {name: given for name, given in value.items() if given is not None}

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def at(self, name: str) -> str:
        """Return the path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def take(self, name: str) -> Any:
        """Return a field as it is; None where it is absent."""
        return self._left.pop(name, None)

    def text(self, name: str) -> str | None:
        """Return a string."""
        return self._typed(name, str, "a string")

    def required_text(self, name: str) -> str:
        """Return a string that must be there."""
        return self._required(name, self.text(name), "a string")

    def flag(self, name: str) -> bool | None:
        """Return true or false."""
        return self._typed(name, bool, "true or false")

    def whole(self, name: str, minimum: int = 0) -> int | None:
        """Return a whole number of at least ``minimum``."""
        given = self.take(name)
        if given is None:
            return None
        if not isinstance(given, int) or isinstance(given, bool) or given < minimum:
            raise wrong_field(self.at(name), given, f"a whole number of at least {minimum}")
        return given

    def items(self, name: str) -> list[Any] | None:
        """Return a list."""
        return self._typed(name, list, "a list")

    def required_items(self, name: str) -> list[Any]:
        """Return a list that must be there."""
        return self._required(name, self.items(name), "a list")

    def mapping(self, name: str) -> dict[str, Any] | None:
        """Return an object as it is, its fields unread."""
        return self._typed(name, dict, "an object")

    def inner(self, name: str) -> Fields | None:
        """Return the fields of an object."""
        given = self.take(name)
        return None if given is None else Fields(given, self.at(name))

    def choice(self, name: str, among: Collection[str]) -> str | None:
        """Return a string that is one of ``among``."""
        given = self.text(name)
        if given is not None and given not in among:
            raise wrong_field(self.at(name), given, f"one of {', '.join(among)}")
        return given

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Refuse fields that the API has and this gateway does not serve; false and empty values ask nothing."""
        for name, why in reasons.items():
            if self.take(name) not in (None, False, [], {}):
                raise not_served(self.at(name), why)

    def finish(self) -> None:
        """Refuse what was not taken."""
        for name in self._left:
            shown = self.at(str(name)[:80])
            raise InvalidRequestError(
                f"'{shown}' is not a field that is known here; leave it out", code="unknown_parameter", param=shown
            )

    def _typed(self, name: str, kind: type[T], expected: str) -> T | None:
        given = self.take(name)
        if given is None:
            return None
        if not isinstance(given, kind):
            raise wrong_field(self.at(name), given, expected)
        return given

    def _required(self, name: str, given: T | None, expected: str) -> T:
        if given is None:
            raise InvalidRequestError(
                f"'{self.at(name)}' is needed: {expected}", code="missing_required_parameter", param=self.at(name)
            )
        return given
