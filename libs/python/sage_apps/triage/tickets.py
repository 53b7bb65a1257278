"""The tickets that come with the application: resolved ones with their labels, and those of one morning."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from sage_apps.catalogue import data_folder
from sage_apps.record_times import time_of
from sage_common.errors import InvalidRequestError

CATEGORIES = ("delivery", "billing", "login", "defect", "returns", "product")
URGENCIES = ("normal", "high")
# What a ticket is that no resolved one votes for.
UNSORTED = "unsorted"
# As the types of records have it, which a model's answer is held to.
MAX_CATEGORY_CHARACTERS = 100


class ResolvedTicket(NamedTuple):
    """A ticket that somebody has answered, and what its answer was."""

    id: str
    category: str
    urgency: str
    text: str
    resolution: str


class IncomingTicket(NamedTuple):
    """A ticket as it comes in, with the labels that a person gave it afterwards, which only an evaluation reads.

    Attributes:
        at: when it was written, in UTC.
        incident: whether it is about the incident of that morning.
    """

    id: str
    at: datetime
    category: str
    urgency: str
    incident: bool
    text: str


def resolved_tickets() -> tuple[ResolvedTicket, ...]:
    """Return the resolved tickets, sixteen of each category."""
    return tuple(ResolvedTicket(**value) for value in _lines("resolved.jsonl"))


def read_resolved(path: Path) -> tuple[ResolvedTicket, ...]:
    """Return resolved tickets of JSON Lines: ``category`` and ``text``; ``id``, ``urgency``, ``resolution`` if known.

    Raises:
        InvalidRequestError: a line is no such ticket, or there is none.
    """
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InvalidRequestError(f"{path}, line {number}: it is not JSON ({error})") from None
        if not isinstance(value, dict) or not all(_is_text(value.get(name)) for name in ("category", "text")):
            raise InvalidRequestError(f"{path}, line {number}: a resolved ticket has a 'category' and a 'text'")
        urgency = value.get("urgency") or URGENCIES[0]
        if urgency not in URGENCIES:
            raise InvalidRequestError(
                f"{path}, line {number}: the urgency is {str(urgency)[:40]!r}; write {' or '.join(URGENCIES)}"
            )
        category = value["category"].strip()
        if len(category) > MAX_CATEGORY_CHARACTERS or "|" in category or not category.isprintable():
            raise InvalidRequestError(
                f"{path}, line {number}: the category {category[:40]!r} cannot be used; write at most "
                f"{MAX_CATEGORY_CHARACTERS} characters on one line, without '|'"
            )
        given = (str(value.get(name) or "") for name in ("id", "resolution"))
        name, resolution = given
        found.append(ResolvedTicket(name or f"line-{number}", category, urgency, value["text"], resolution))
    if not found:
        raise InvalidRequestError(f'{path} has no resolved ticket; give one a line, as {{"category": …, "text": …}}')
    return tuple(found)


def categories_of(resolved: Iterable[ResolvedTicket]) -> tuple[str, ...]:
    """Return the categories that tickets have, in the order in which they come first."""
    return tuple(dict.fromkeys(one.category for one in resolved))


def incoming_tickets() -> tuple[IncomingTicket, ...]:
    """Return the tickets of one morning in the order in which they came; from 10:40 on for 20 minutes nobody can log
    in."""
    return tuple(IncomingTicket(**{**value, "at": time_of(value["at"])}) for value in _lines("incoming.jsonl"))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _lines(name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (data_folder("triage") / name).read_bytes().splitlines()]
