"""Text with fields in braces, filled from a record: ``"{title}: {meta.author}"``. ``{{`` and ``}}`` are braces.

A path only ever looks up keys of mappings, so a template from the network can reach nothing but the record.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from typing import Any

from sage_common.errors import UnprocessableError
from sage_libs.prompts import Passage, render_context

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


class Template:
    """A parsed template.

    Attributes:
        paths: what it reads of a record, as ``window.start``, without repeats, in order.
        fields: the fields that these paths begin with.

    Raises:
        ValueError: a brace without its partner, or a path that is not names joined by dots.
    """

    def __init__(self, text: str) -> None:
        # Odd positions are paths, even ones literal text.
        self._parts: list[str] = []
        literal: list[str] = []
        position = 0
        for match in _TOKEN.finditer(text):
            literal.append(text[position : match.start()])
            position = match.end()
            if match[0] in ("{{", "}}"):
                literal.append(match[0][0])
                continue
            if match[1] is None:
                raise ValueError(
                    f"{match[0]!r} at character {match.start()} has no partner; write it twice for a brace"
                )
            if not _PATH.fullmatch(match[1]):
                raise ValueError(f"{match[0]!r} is not a field; write {{name}} or {{name.key}}, or double the braces")
            self._parts += ["".join(literal), match[1]]
            literal.clear()
        self._parts.append("".join(literal) + text[position:])
        self.paths = tuple(dict.fromkeys(self._parts[1::2]))
        self.fields = tuple(dict.fromkeys(path.split(".")[0] for path in self.paths))

    def render(self, record: Mapping[str, Any]) -> str:
        """Fill the template.

        Text goes in as it is, a list of retrieved passages as a numbered context block, other values as JSON.

        Raises:
            UnprocessableError: the record lacks a field.
        """
        return "".join(_as_text(_look_up(record, part)) if at % 2 else part for at, part in enumerate(self._parts))


def _look_up(record: Mapping[str, Any], path: str) -> Any:
    value: Any = record
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            known = ", ".join(sorted(value)) if isinstance(value, Mapping) else f"a {type(value).__name__}"
            raise UnprocessableError(f"the template reads {{{path}}}, but the record has no {name!r} (it has {known})")
        value = value[name]
    return value


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, list | tuple) and all(isinstance(item, Mapping) and "text" in item for item in value):
        return render_context([Passage(str(item["text"]), _label(item)) for item in value])
    return json.dumps(value, ensure_ascii=False, default=str)


def _label(passage: Mapping[str, Any]) -> str:
    return next((str(passage[name]) for name in ("path", "title", "id") if passage.get(name)), "")
