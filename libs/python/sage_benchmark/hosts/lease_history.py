"""Who led a pool when, as the schedulers of all hosts have written it down; their clock is one in a test bed."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

import orjson


@dataclass(frozen=True)
class Term:
    """One scheduler's time at the lead.

    Attributes:
        host: where it ran.
        epoch: by which what it dispatched is above what its predecessors did.
        gained, lost: seconds since 1970; ``lost`` is infinite where it did not write that it had ended.
    """

    host: int
    key: str
    epoch: int
    gained: float
    lost: float = float("inf")


def terms(logs: Iterable[tuple[int, str]]) -> list[Term]:
    """Return the terms in the logs of schedulers, given with their host, in the order in which they began.

    A process that was killed wrote no end; its term seems to last for ever.
    """
    found: list[Term] = []
    for host, text in logs:
        open_terms: dict[tuple[str, str], Term] = {}
        for line in text.splitlines():
            if '"lease ' not in line:
                continue
            entry = orjson.loads(line)
            at = datetime.datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00")).timestamp()
            place = (entry["instance"], entry["key"])
            if entry["event"] == "lease gained":
                open_terms[place] = Term(host, entry["key"], entry["epoch"], at)
            elif entry["event"] == "lease lost" and place in open_terms:
                begun = open_terms.pop(place)
                found.append(Term(begun.host, begun.key, begun.epoch, begun.gained, at))
        found += open_terms.values()
    return sorted(found, key=lambda term: term.gained)


def overlaps(history: Iterable[Term]) -> list[tuple[Term, Term]]:
    """Return pairs of terms of one pool at the same time, by what their holders wrote."""
    ordered = sorted(history, key=lambda term: term.gained)
    return [
        (first, second)
        for number, first in enumerate(ordered)
        for second in ordered[number + 1 :]
        if first.key == second.key and second.gained < first.lost
    ]
