"""Sends requests where their prompt is cached."""

from __future__ import annotations

from sage_control_plane.placement.engine_view import EngineView
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.request.request import PendingRequest

# A shorter match is not worth giving up balance for.
LEAST_MATCH = 0.8


class PrefixAffinity:
    """Scores the matched share of the prompt where it is at least 0.8, unless the wait costs more than it saves.

    The wait is what the engine's present load is predicted to cost; the saving is the prefill of the matched tokens.
    Without predictions the bond holds while the engine is at most half full.
    """

    name = "prefix"

    def __init__(self, prefixes: PrefixIndex) -> None:
        self._prefixes = prefixes

    def score(self, engine: EngineView, request: PendingRequest, now: float) -> float:
        matched = self._prefixes.matched(engine.engine_id, request)
        if matched < LEAST_MATCH:
            return 0.0
        classification = request.classification
        wait = engine.forecast.wait_seconds(classification.generates)
        saved = engine.forecast.prefill_seconds(classification.generates, matched * classification.input_tokens)
        if wait is None or saved is None:
            return matched if 2 * engine.credits.requests <= engine.credits.request_cap else 0.0
        return matched if wait <= saved else 0.0
