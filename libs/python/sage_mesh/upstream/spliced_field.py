"""Setting a field of a JSON object and leaving every other byte of it as it is.

Reading and writing JSON anew loses spaces and escapes, and the digits of long numbers.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

# A name that occurs more often than this, in schemas and texts, costs more to try than to write the object anew.
MOST_OCCURRENCES: Final = 8
# Values without another object or list in them.
_VALUE: Final = rb'\s*:\s*("(?:[^"\\]|\\.)*"|\{[^{}\[\]]*\}|[\w.+-]+)'


def with_field(body: bytes, name: str, value: object) -> bytes:
    """Return ``body`` with ``value`` as its field ``name``, which it may have already.

    Args:
        body: a JSON object, checked at the edge.
        name: a plain word.
    """
    key = orjson.dumps(name)
    given: dict[str, Any] = orjson.loads(body)
    if name not in given:
        opened, rest = body.split(b"{", 1)
        comma = b"" if rest.lstrip().startswith(b"}") else b","
        return opened + b"{" + key + b":" + orjson.dumps(value) + comma + rest
    # A quote inside a JSON string is written \", so each place is a whole string: this field, one of the same name
    # further down, or a text. Which, the result tells. Of two such fields the last one counts.
    places = list(re.finditer(re.escape(key) + _VALUE, body))
    for place in reversed(places if len(places) <= MOST_OCCURRENCES else []):
        changed = body[: place.start(1)] + orjson.dumps(value) + body[place.end(1) :]
        if orjson.loads(changed) == {**given, name: value}:
            return changed
    return orjson.dumps({**given, name: value})
