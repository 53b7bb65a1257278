"""The ``model`` field of a body: left alone where it already names the engine's model."""

from __future__ import annotations

import orjson

from sage_mesh.upstream.spliced_field import with_field

_KEY = b'"model"'


def with_model(body: bytes, model: str) -> bytes:
    """Return ``body`` with ``model`` as its model; the very same bytes where it says that already.

    Args:
        body: a JSON object, checked at the edge.
        model: name that the engine knows.
    """
    if _names_only(body, model):
        return body
    read = orjson.loads(body)
    if read.get("model") == model:
        return body
    return with_field(body, "model", model, read)


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
