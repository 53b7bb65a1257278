"""Bodies of the management API: read strictly, refused by field."""

from __future__ import annotations

from typing import TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from sage_common.errors import InvalidRequestError
from sage_gateway.admission import wanted_headers
from sage_gateway.body_reader import BodyReader

MAX_BODY_BYTES = 64 * 1024


class Order(BaseModel):
    """What a body says; a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


B = TypeVar("B", bound=BaseModel)


class OrderBodies:
    """Reads bodies in one go and in time, as those of inference are."""

    def __init__(self, timeout_seconds: float) -> None:
        self._bodies = BodyReader(MAX_BODY_BYTES, timeout_seconds)

    async def read(self, request: Request, kind: type[B], *, optional: bool = False) -> B:
        """Return a body as what it is.

        Args:
            optional: whether an empty body counts as ``{}``.

        Raises:
            InvalidRequestError: it names the field and those there are.
            TooLargeError: it is longer than an order.
        """
        try:
            body = await self._bodies.read(wanted_headers(request.scope), request.receive)
        except InvalidRequestError as error:
            if not optional or error.code != "empty_body":
                raise
            body = b"{}"
        return _order_of(body, kind)


def _order_of(body: bytes, kind: type[B]) -> B:
    try:
        return kind.model_validate_json(_without_nulls(body))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{where or 'body'}: {first['msg']}; fields: {', '.join(kind.model_fields)}"
        raise InvalidRequestError(message, param=where or None) from None


def _without_nulls(body: bytes) -> bytes:
    """Return a body without its fields that are null, which are absent; what is no JSON object as it is."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    if not isinstance(value, dict) or None not in value.values():
        return body
    return orjson.dumps({name: given for name, given in value.items() if given is not None})
