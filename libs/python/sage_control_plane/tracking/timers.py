"""Timers: one for each kind of event, all in one order of time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import count
from typing import Any, Generic, TypeVar

from sage_common.removable_heap import RemovableHeap
from sage_control_plane.request.request import Route

S = TypeVar("S", bound=Hashable)


def _nothing(subject: object, now: float) -> None:
    """Do nothing: the default of ``on_due``."""


class Timer(Generic[S]):
    """Subjects of one kind, each due at one time.

    Attributes:
        disarm: removes a subject if it is set.
        on_due: called with a due subject and the present time.
    """

    __slots__ = ("_heap", "_sequence", "disarm", "on_due")

    def __init__(self, sequence: count[int]) -> None:
        self._heap: RemovableHeap[S] = RemovableHeap()
        self._sequence = sequence
        self.disarm: Callable[[S], object] = self._heap.remove
        self.on_due: Callable[[S, float], None] = _nothing

    def __contains__(self, subject: S) -> bool:
        return subject in self._heap

    def arm(self, subject: S, at: float) -> None:
        """Make ``subject`` due at ``at``; an earlier setting is replaced."""
        self._heap.push(subject, (at, next(self._sequence)))

    def arm_once(self, subject: S, at: float) -> None:
        """Make ``subject`` due at ``at`` unless it is due already."""
        if subject not in self._heap:
            self.arm(subject, at)

    def first(self) -> tuple[float, int] | None:
        """Return when the first subject is due, with a number that orders equal times; None when none is set."""
        first = self._heap.peek()
        return first[0] if first else None

    def fire(self, now: float) -> None:
        """Remove the first subject and call ``on_due`` with it."""
        first = self._heap.peek()
        if first is not None:
            self._heap.remove(first[1])
            self.on_due(first[1], now)


class Timers:
    """The timers of one pool.

    Attributes:
        expiry: a queued request's time-out passes, by request id.
        backoff: a request may be tried again, by request id.
        hedge: a request's first token is overdue, by request id.
        prefill: a prompt is assumed to be computed, by engine id and request id.
        stale_load: an engine's reported load becomes stale, by engine id.
        ejection: an engine's ejection ends, by engine id.
        interruption: whether bulk answers give up seats is to be considered again, by route.
        cooling: an engine takes work again after the pause that it asked for, by engine id.
        absence: no engine has served a route for too long, by route.
    """

    def __init__(self) -> None:
        sequence = count(1)
        self.expiry: Timer[str] = Timer(sequence)
        self.backoff: Timer[str] = Timer(sequence)
        self.hedge: Timer[str] = Timer(sequence)
        self.prefill: Timer[tuple[str, str]] = Timer(sequence)
        self.stale_load: Timer[str] = Timer(sequence)
        self.ejection: Timer[str] = Timer(sequence)
        self.interruption: Timer[Route] = Timer(sequence)
        self.cooling: Timer[str] = Timer(sequence)
        self.absence: Timer[Route] = Timer(sequence)
        self._all: tuple[Timer[Any], ...] = (
            self.expiry,
            self.backoff,
            self.hedge,
            self.prefill,
            self.stale_load,
            self.ejection,
            self.interruption,
            self.cooling,
            self.absence,
        )

    def first_at(self) -> float | None:
        """Return when the first subject of all timers is due, in seconds; None when none is set."""
        first = self._first()
        return None if first is None else first[0][0]

    def fire_due(self, now: float) -> None:
        """Call ``on_due`` for every subject that is due at ``now``, in order."""
        while (first := self._first()) is not None and first[0][0] <= now:
            first[1].fire(now)

    def _first(self) -> tuple[tuple[float, int], Timer[Any]] | None:
        earliest: tuple[tuple[float, int], Timer[Any]] | None = None
        for timer in self._all:
            at = timer.first()
            if at is not None and (earliest is None or at < earliest[0]):
                earliest = (at, timer)
        return earliest
