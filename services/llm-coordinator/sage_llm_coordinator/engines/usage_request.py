"""Asking a server for the usage of a stream although its caller did not. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from sage_mesh.upstream.spliced_field import with_field

_KEY = b'"stream_options"'
_SEVERAL = re.compile(rb'"n"\s*:\s*(?!1\s*[,}])\d|"prompt"\s*:\s*\[\s*["\[]')


@dataclass(frozen=True, slots=True)
class UsageWish:
    """What a stream's caller is to see, and what the server was asked for.

    Attributes:
        hides_last: the event at the end that has the usage and no choices was not asked for by the caller.
        hides_each: the usage in every other event was not.
        several: there may be several choices.
    """

    hides_last: bool = False
    hides_each: bool = False
    several: bool = False

    @property
    def hides(self) -> bool:
        """Whether anything has to be taken out of the stream."""
        return self.hides_last or self.hides_each


AS_ASKED = UsageWish()


def with_usage(body: bytes, *, continuous: bool) -> tuple[bytes, UsageWish]:
    """Return the body that asks for the usage of a stream, and what of it is not the caller's.

    Args:
        body: a JSON object with ``"stream": true``, checked at the edge.
        continuous: whether the server knows ``continuous_usage_stats`` (vLLM): the usage so far in every event, so
            that a stream that is given up is counted too.
    """
    several = _SEVERAL.search(body) is not None
    if _KEY not in body:
        asked = b'{"include_usage":true,"continuous_usage_stats":true}' if continuous else b'{"include_usage":true}'
        opened = body.rstrip()[:-1].rstrip()
        comma = b"" if opened.endswith(b"{") else b","
        return opened + comma + _KEY + b":" + asked + b"}", UsageWish(True, continuous, several)
    value = orjson.loads(body)
    given = value.get("stream_options")
    if given is not None and not isinstance(given, dict):
        return body, AS_ASKED  # the server says what is wrong with it
    options_given = given or {}
    last = bool(options_given.get("include_usage"))
    each = last and bool(options_given.get("continuous_usage_stats"))
    if last and (each or not continuous):
        return body, AS_ASKED
    options = {**options_given, "include_usage": True}
    if continuous:
        options["continuous_usage_stats"] = True
    return with_field(body, "stream_options", options, value), UsageWish(not last, continuous, several)
