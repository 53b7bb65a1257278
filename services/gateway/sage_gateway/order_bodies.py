"""Bodies of the management API: read strictly, refused by field."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sage_common.errors import InvalidRequestError


class Order(BaseModel):
    """What a body says; a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


B = TypeVar("B", bound=BaseModel)


def order_of(body: bytes, kind: type[B]) -> B:
    """Return a body as what it is. Raises InvalidRequestError, which names the field and those there are."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{where or 'body'}: {first['msg']}; fields: {', '.join(kind.model_fields)}"
        raise InvalidRequestError(message, param=where or None) from None
