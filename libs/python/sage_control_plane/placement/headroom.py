"""Packs onto engines that can still meet the request's targets."""

from __future__ import annotations

from sage_control_plane.placement.engine_view import EngineView
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.request.request import PendingRequest

UNKNOWN = 0.5


class PredictedHeadroom:
    """Least positive headroom first, which keeps other engines free for what needs more; idle first when all fail.

    Headroom is what is left of the request's targets, as a share of them: the smaller of ``(deadline - now - predicted
    TTFT) / TTFT target`` and ``(TPOT target - predicted TPOT) / TPOT target``. A positive one scores 1 down to 0.5, the
    less the better; a negative one below 0.5, the idler the engine the better.
    """

    name = "headroom"

    def __init__(self, prefixes: PrefixIndex) -> None:
        self._prefixes = prefixes

    def score(self, engine: EngineView, request: PendingRequest, now: float) -> float:
        headroom = self._headroom(engine, request, now)
        if headroom is None:
            return UNKNOWN
        if headroom > 0:
            return 1.0 - 0.5 * min(1.0, headroom)
        return 0.49 / (1.0 + engine.credits.requests)

    def _headroom(self, engine: EngineView, request: PendingRequest, now: float) -> float | None:
        classification = request.classification
        target = classification.begin_target_seconds
        if target is None:
            return None
        uncached = classification.input_tokens * (1.0 - self._prefixes.matched(engine.engine_id, request))
        ttft = engine.forecast.ttft_seconds(classification.generates, uncached)
        if ttft is None:
            return None
        headroom = (request.arrived_at + target - now - ttft) / target
        target_tpot = classification.slo.tpot_ms / 1000
        tpot = engine.forecast.tpot_seconds() if target_tpot else None
        if tpot is not None:
            headroom = min(headroom, (target_tpot - tpot) / target_tpot)
        return headroom
