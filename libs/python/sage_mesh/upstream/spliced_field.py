"""Setting a field of a JSON object and leaving every other byte of it as it is.

Reading and writing JSON anew loses spaces and escapes, and the digits of long numbers.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

# Each try reads the whole body once more, on the event loop; beyond this the object is written anew.
MOST_TRIES: Final = 2
# Values without another object or list in them.
_VALUE: Final = rb'\s*:\s*("(?:[^"\\]|\\.)*"|\{[^{}\[\]]*\}|[\w.+-]+)'


def with_field(body: bytes, name: str, value: object, read: dict[str, Any] | None = None) -> bytes:
    """Return ``body`` with ``value`` as its field ``name``, which it may have already.

    Args:
        body: a JSON object, checked at the edge.
        name: a plain word.
        read: what the body says, where the caller has read it.
    """
    key = orjson.dumps(name)
    given: dict[str, Any] = orjson.loads(body) if read is None else read
    if name not in given:
        opened, rest = body.split(b"{", 1)
        comma = b"" if rest.lstrip().startswith(b"}") else b","
        return opened + b"{" + key + b":" + orjson.dumps(value) + comma + rest
    # A quote inside a JSON string is written \", so each place is a whole string: this field, one of the same name
    # further down, or a text. Which, the result tells.
    for place in _likeliest(body, re.finditer(re.escape(key) + _VALUE, body)):
        changed = body[: place.start(1)] + orjson.dumps(value) + body[place.end(1) :]
        if orjson.loads(changed) == {**given, name: value}:
            return changed
    return orjson.dumps({**given, name: value})


def _likeliest(body: bytes, places: Iterator[re.Match[bytes]]) -> list[re.Match[bytes]]:
    """The places least deep in the object, the last one first, since of two such fields the last one counts.

    Brackets inside texts are counted too: a wrong guess costs a try, never a wrong result.
    """
    ranked: list[tuple[int, int, re.Match[bytes]]] = []
    depth = end = 0
    for place in places:
        start = place.start()
        opened = body.count(b"{", end, start) + body.count(b"[", end, start)
        depth += opened - body.count(b"}", end, start) - body.count(b"]", end, start)
        ranked.append((depth, -start, place))
        end = start
    return [place for _, _, place in heapq.nsmallest(MOST_TRIES, ranked)]
