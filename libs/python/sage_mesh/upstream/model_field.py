"""The ``model`` field of a request's body: left alone where it already names the engine's model."""

from __future__ import annotations

import orjson

from sage_common.errors import InvalidRequestError
from sage_mesh import exact_json

_KEY = b'"model"'


def with_model(body: bytes, model: str) -> bytes:
    """Return ``body`` with ``model`` as its model; the very same bytes where it says that already.

    Args:
        body: a JSON object, checked at the edge.
        model: name that the engine knows.

    Raises:
        InvalidRequestError: the body is nested too deeply to be written again.
    """
    return rename_model(body, model)[0]


def rename_model(body: bytes, model: str) -> tuple[bytes, object]:
    """As ``with_model``; return also the model that the body named before, ``model`` itself where it stays."""
    if _names_only(body, model):
        return body, model
    value = exact_json.read(body)
    given = value.get("model")
    if given == model:
        return body, model
    value["model"] = model
    try:
        return exact_json.write(value), given
    except ValueError as error:
        raise InvalidRequestError(f"the body cannot be passed on: {error}") from None


def _names_only(body: bytes, model: str) -> bool:
    """Say whether the one key called ``model`` in the body has this value, without reading the body.

    A quote inside a JSON string is written ``\\"``, so the pattern cannot be part of one. With two such keys, or none,
    the answer is no and the body is read.
    """
    at = body.find(_KEY)
    if at < 0 or body.find(_KEY, at + len(_KEY)) >= 0:
        return False
    after = body[at + len(_KEY) : at + len(_KEY) + len(model) * 4 + 64].lstrip()
    return after.startswith(b":") and after[1:].lstrip().startswith(orjson.dumps(model))
