"""Prefers engines that begin soon."""

from __future__ import annotations

from sage_control_plane.placement.engine_view import EngineView
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.request.request import PendingRequest

# A predicted time to first token as long as this scores a half.
HALF_SECONDS = 0.2
UNKNOWN = 0.5


class SoonestStart:
    """The sooner the first token is predicted, the better: ``1 / (1 + predicted TTFT / 0.2 s)``.

    It is what keeps requests that wait for their first token off a slow engine, which least work alone gives its
    share. Work with a far deadline has no use for a soon start, and goes where there is least work.
    """

    name = "soonest"

    def __init__(self, prefixes: PrefixIndex) -> None:
        self._prefixes = prefixes

    def score(self, engine: EngineView, request: PendingRequest, now: float) -> float:
        classification = request.classification
        if classification.sheddable:
            return UNKNOWN
        uncached = classification.input_tokens * (1.0 - self._prefixes.matched(engine.engine_id, request))
        ttft = engine.forecast.ttft_seconds(classification.generates, uncached)
        return UNKNOWN if ttft is None else 1.0 / (1.0 + ttft / HALF_SECONDS)
