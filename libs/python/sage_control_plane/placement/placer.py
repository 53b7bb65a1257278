"""Filters, scorers and picker combined."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from sage_common.value_type import value_type
from sage_control_plane.placement.engine_view import EngineView
from sage_control_plane.placement.filters import EngineFilter, RequestFilter
from sage_control_plane.placement.pickers import Picker
from sage_control_plane.placement.scorers import Scorer
from sage_control_plane.request.request import PendingRequest


class ScoredEngine(NamedTuple):
    """An engine that was considered.

    Attributes:
        cached: share of the prompt that it should have in its prefix cache, from 0 to 1; None of a prompt that is too
            short for that, or has no text.
    """

    engine_id: str
    score: float
    cached: float | None = None


@value_type
class Placement:
    """The engine chosen for a request, and the candidates, the chosen one first."""

    engine_id: str
    candidates: tuple[ScoredEngine, ...]


class Placer:
    """Places requests of one pool."""

    def __init__(
        self,
        engine_filters: Sequence[EngineFilter],
        request_filters: Sequence[RequestFilter],
        scorers: Sequence[tuple[Scorer, float]],
        picker: Picker,
        random: Random,
    ) -> None:
        self._engine_filters = tuple(engine_filters)
        self._request_filters = tuple(request_filters)
        total = sum(weight for _, weight in scorers)
        self._scorers = tuple((scorer, weight / total) for scorer, weight in scorers)
        self._picker = picker
        self._random = random

    def admits(self, engine: EngineView) -> bool:
        """Return whether the engine may get any request now."""
        for engine_filter in self._engine_filters:  # noqa: SIM110 - twice as fast, and on the path of each decision
            if not engine_filter.admits(engine):
                return False
        return True

    def place(
        self, request: PendingRequest, free: Sequence[EngineView], now: float, favourite: EngineView | None = None
    ) -> Placement | None:
        """Choose among ``free`` engines, which serve the request and pass ``admits``; None when filters refuse all.

        ``favourite`` is scored too, whatever the picker samples.
        """

        def judge(engine: EngineView) -> float | None:
            for request_filter in self._request_filters:
                if not request_filter.admits(engine, request):
                    return None
            score = 0.0
            for scorer, weight in self._scorers:
                score += weight * scorer.score(engine, request, now)
            return score

        considered = self._picker.pick(free, judge, self._random)
        if favourite is not None and all(engine is not favourite for engine, _ in considered):
            score = judge(favourite)
            if score is not None:
                considered.append((favourite, score))
                if score > considered[0][1]:
                    considered[0], considered[-1] = considered[-1], considered[0]
        if not considered:
            return None
        chosen = considered[0][0]
        return Placement(chosen.engine_id, tuple(ScoredEngine(engine.engine_id, score) for engine, score in considered))
