"""Pickers: which of the free engines are scored, and which of those is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Protocol

from sage_common.errors import InvalidRequestError
from sage_control_plane.placement.engine_view import EngineView

# Returns an engine's score for the request at hand; None when a filter refuses it.
Judge = Callable[[EngineView], float | None]
Scored = tuple[EngineView, float]

# Up to this many engines are all scored; beyond it two random ones are.
SMALL_POOL = 16


class Picker(Protocol):
    """Chooses among free engines."""

    def pick(self, engines: Sequence[EngineView], judge: Judge, random: Random) -> list[Scored]:
        """Return the engines considered with their scores, the chosen one first; empty when none is admitted."""
        ...


def _better(one: Scored, other: Scored) -> bool:
    """Return whether ``one`` is better: by score, then by fewer dispatches, then by id."""
    if one[1] != other[1]:
        return one[1] > other[1]
    mine, theirs = one[0], other[0]
    return (mine.dispatched, mine.engine_id) < (theirs.dispatched, theirs.engine_id)


class MaxScore:
    """Scores all engines and takes the best. O(engines)."""

    def pick(self, engines: Sequence[EngineView], judge: Judge, random: Random) -> list[Scored]:
        considered: list[Scored] = []
        best = -1
        for engine in engines:
            score = judge(engine)
            if score is None:
                continue
            considered.append((engine, score))
            if best < 0 or _better(considered[-1], considered[best]):
                best = len(considered) - 1
        if best > 0:
            considered[0], considered[best] = considered[best], considered[0]
        return considered


class PowerOfTwo:
    """Scores two random engines and takes the better (Mitzenmacher, 2001). O(1); close to the best in large pools."""

    def __init__(self) -> None:
        self._all = MaxScore()

    def pick(self, engines: Sequence[EngineView], judge: Judge, random: Random) -> list[Scored]:
        count = len(engines)
        if count > 2:
            first = int(random.random() * count)
            second = int(random.random() * (count - 1))
            if second >= first:
                second += 1
            considered = self._all.pick((engines[first], engines[second]), judge, random)
            if considered:
                return considered
        # There are few, or filters refuse both: try all of them.
        return self._all.pick(engines, judge, random)


class Adaptive:
    """MaxScore for small pools, power of two choices for large ones."""

    def __init__(self) -> None:
        self._small = MaxScore()
        self._large = PowerOfTwo()

    def pick(self, engines: Sequence[EngineView], judge: Judge, random: Random) -> list[Scored]:
        picker: Picker = self._small if len(engines) <= SMALL_POOL else self._large
        return picker.pick(engines, judge, random)


class RoundRobin:
    """Takes the engines in turn, by id, whatever their scores. A baseline."""

    def __init__(self) -> None:
        self._last = ""

    def pick(self, engines: Sequence[EngineView], judge: Judge, random: Random) -> list[Scored]:
        in_order = sorted(engines, key=lambda engine: (engine.engine_id <= self._last, engine.engine_id))
        for engine in in_order:
            score = judge(engine)
            if score is not None:
                self._last = engine.engine_id
                return [(engine, score)]
        return []


class RandomChoice:
    """Takes a random engine, whatever its score. A baseline."""

    def pick(self, engines: Sequence[EngineView], judge: Judge, random: Random) -> list[Scored]:
        left = list(engines)
        while left:
            index = int(random.random() * len(left))
            left[index], left[-1] = left[-1], left[index]
            engine = left.pop()
            score = judge(engine)
            if score is not None:
                return [(engine, score)]
        return []


PICKERS: Mapping[str, Callable[[], Picker]] = {
    "adaptive": Adaptive,
    "argmin": MaxScore,
    "power_of_two": PowerOfTwo,
    "round_robin": RoundRobin,
    "random": RandomChoice,
}


def make_picker(name: str) -> Picker:
    """Make a picker. Raises InvalidRequestError on an unknown name."""
    if name not in PICKERS:
        raise InvalidRequestError(
            f"no picker is called {name!r}; known: {', '.join(sorted(PICKERS))}", code="unknown_picker", param="picker"
        )
    return PICKERS[name]()
