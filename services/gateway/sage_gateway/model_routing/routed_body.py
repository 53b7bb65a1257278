"""The body of a request for a model route: which name it uses, and as it is for a model behind that name."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any, Final

from sage_common.errors import InvalidRequestError
from sage_control_plane.request.request import Endpoint, Hints, ServiceClass
from sage_mesh import exact_json

_KEY: Final = b'"model"'
_PLAIN_STRING: Final = re.compile(rb'\s*:\s*"([^"\\]*)"')
_SAMPLING: Final = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "max_tokens",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "stop",
        "seed",
        "reasoning_effort",
    }
)
# Which defaults a request of each endpoint takes; a route may be for several.
_FIELDS: Final[Mapping[Endpoint, frozenset[str]]] = {
    Endpoint.CHAT_COMPLETIONS: _SAMPLING,
    Endpoint.COMPLETIONS: _SAMPLING - {"reasoning_effort"},
    Endpoint.EMBEDDINGS: frozenset({"dimensions"}),
    Endpoint.RERANK: frozenset(),
}
# Fields that say the same: a request that names either has said it.
_SAME: Final[Mapping[str, tuple[str, ...]]] = {"max_tokens": ("max_tokens", "max_completion_tokens")}
# What names the caller's end user or conversation, which then stays with one target of a split.
_STICKY: Final = ("user", "safety_identifier", "prompt_cache_key")


def read_routed(body: bytes) -> dict[str, Any] | None:
    """Return a body; None for what is no JSON object, which the edge refuses in its own words."""
    try:
        value = exact_json.read(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def may_name(body: bytes, names: Container[str]) -> bool:
    """Return whether a body's model may be one of ``names``; where it is False, the body need not be read.

    Nearly every body has one key called ``model``, with a plain string. Whether that is the body's own or lies deeper,
    a string that is none of the names is enough.
    """
    at = body.find(_KEY)
    if at <= 0 or body.find(_KEY, at + len(_KEY)) >= 0:
        return True
    plain = _PLAIN_STRING.match(body, at + len(_KEY))
    return plain is None or plain[1].decode("utf-8", "replace") in names


def sticky_key(body: Mapping[str, Any]) -> str:
    """Return what a request says of whom it is for; empty where it does not say."""
    return next((given for name in _STICKY if isinstance(given := body.get(name), str) and given), "")


def body_for(body: Mapping[str, Any], endpoint: Endpoint, model: str, defaults: Mapping[str, Any]) -> bytes:
    """Return a body with another model and the defaults that it does not override; null does not override.

    Raises:
        InvalidRequestError: it is nested too deeply to be written again.
    """
    added = {
        name: value
        for name, value in defaults.items()
        if name in _FIELDS[endpoint] and all(body.get(same) is None for same in _SAME.get(name, (name,)))
    }
    try:
        return exact_json.write({**body, "model": model, **added})
    except ValueError as error:
        raise InvalidRequestError(f"the body cannot be passed on: {error}") from None


def hints_for(hints: Hints, defaults: Mapping[str, Any]) -> Hints:
    """Return hints with the default class, where they name neither a class nor a priority."""
    given = defaults.get("service_class")
    if given is None or hints.service_class is not None or hints.priority is not None:
        return hints
    return replace(hints, service_class=ServiceClass[given.upper()])
