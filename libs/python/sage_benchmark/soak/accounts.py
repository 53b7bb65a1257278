"""What became of every request: each ended once, whole or with an error that its kind allows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from sage_benchmark.soak.soak_plan import Work

# A connection that was kept open is found dead at its next use, and a kill is noted when it was done.
SLACK_SECONDS = 1.0
GATEWAY = "gateway"
ENGINE = "engine"
# Whose death a stream that cannot be continued does not survive.
SERVERS = frozenset({ENGINE, "llm-coordinator"})


class Ending(Enum):
    """How an attempt to get an answer ended."""

    WHOLE = "whole"
    # The connection broke before the end.
    BROKEN = "broken"
    # A status that is none of success, or an error event, in the form of the API.
    ERROR = "error"
    # An end that says that it is whole, and is not.
    WRONG = "wrong"
    HUNG = "hung"


@dataclass(frozen=True)
class Kill:
    """One process killed. ``at``: seconds from the beginning."""

    at: float
    host: int
    process: str
    service: str


@dataclass(frozen=True)
class Attempt:
    """One request as its client saw it.

    Attributes:
        host: whose gateway it went to.
        begun, ended: seconds from the beginning.
        engine: the host of the engine that began the answer; 0 where that is not known.
        detail: what was received in place of a whole answer.
    """

    host: int
    begun: float
    ended: float
    ending: Ending
    engine: int = 0
    detail: str = ""


@dataclass
class Account:
    """One answer that somebody wants, and the attempts to get it: another follows only one that broke off with its
    gateway, as clients do."""

    name: str
    work: Work
    attempts: list[Attempt] = field(default_factory=list)

    def verdict(self, kills: Sequence[Kill]) -> Verdict:
        """Say what became of it."""
        if not self.attempts:
            return Verdict.UNEXPLAINED
        *earlier, last = self.attempts
        if any(one.ending is not Ending.BROKEN or not gateway_died(one, kills) for one in earlier):
            return Verdict.UNEXPLAINED
        if last.ending is Ending.WHOLE:
            return Verdict.ASKED_AGAIN if earlier else Verdict.WHOLE
        if last.ending is Ending.ERROR and self.work is Work.GUIDED and server_died(last, kills):
            return Verdict.CLEAR_ERROR
        return Verdict.HUNG if last.ending is Ending.HUNG else Verdict.UNEXPLAINED


class Verdict(Enum):
    """What became of an account; the first three are as they should be."""

    WHOLE = "whole"
    ASKED_AGAIN = "whole, asked again as its gateway died"
    CLEAR_ERROR = "clear error, allowed"
    UNEXPLAINED = "lost, doubled or wrong"
    HUNG = "hung"

    @property
    def is_allowed(self) -> bool:
        """Whether nothing was lost, doubled or left open."""
        return self in (Verdict.WHOLE, Verdict.ASKED_AGAIN, Verdict.CLEAR_ERROR)


def gateway_died(attempt: Attempt, kills: Iterable[Kill]) -> bool:
    """Whether the gateway of an attempt was killed under it."""
    return _died(attempt, kills, lambda kill: kill.service == GATEWAY and kill.host == attempt.host)


def server_died(attempt: Attempt, kills: Iterable[Kill]) -> bool:
    """Whether the engine of an attempt, or its coordinator, was killed under it."""
    return _died(attempt, kills, lambda kill: kill.service in SERVERS and kill.host == attempt.engine)


def _died(attempt: Attempt, kills: Iterable[Kill], is_its: Callable[[Kill], bool]) -> bool:
    begun, ended = attempt.begun - SLACK_SECONDS, attempt.ended + SLACK_SECONDS
    return any(begun <= kill.at <= ended and is_its(kill) for kill in kills)


def tally(accounts: Iterable[Account], kills: Sequence[Kill]) -> dict[Work, Counter[Verdict]]:
    """Count what became of each kind of work."""
    found: dict[Work, Counter[Verdict]] = {work: Counter() for work in Work}
    for account in accounts:
        found[account.work][account.verdict(kills)] += 1
    return found


def problems(accounts: Iterable[Account], kills: Sequence[Kill]) -> list[str]:
    """Return what is not as it should be, a line each, with the kills of its time."""
    lines = []
    for account in accounts:
        verdict = account.verdict(kills)
        if verdict.is_allowed:
            continue
        told = "; ".join(
            f"{one.begun:.1f}-{one.ended:.1f} s by host {one.host}, engine of host {one.engine or '?'}: "
            f"{one.ending.value} {one.detail}"
            for one in account.attempts
        )
        times = [(one.begun, one.ended) for one in account.attempts]
        near = [
            f"{kill.process}@{kill.host} {kill.at:.1f}"
            for kill in kills
            if any(begun - 5 <= kill.at <= ended + SLACK_SECONDS for begun, ended in times)
        ]
        lines.append(
            f"{account.name} ({account.work.value}): {verdict.value}: {told or 'never asked'} [{', '.join(near)}]"
        )
    return lines
