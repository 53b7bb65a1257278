"""Scorers: how good an engine is for a request, from 0 to 1."""

from __future__ import annotations

from typing import Protocol

from sage_control_plane.placement.engine_view import EngineView
from sage_control_plane.request.request import PendingRequest


class Scorer(Protocol):
    """One opinion. Scores of several scorers are added by weight."""

    name: str

    def score(self, engine: EngineView, request: PendingRequest, now: float) -> float:
        """Return the score in [0, 1]; larger is better."""
        ...


class LeastWork:
    """Token-weighted least work: the sooner the engine would be through with this request, the better.

    ``work = (outstanding tokens + the request's) * seconds per token``, and the score is ``1 / (1 + work)``.
    """

    name = "least_work"

    def score(self, engine: EngineView, request: PendingRequest, now: float) -> float:
        tokens = engine.credits.tokens + request.classification.tokens
        return 1.0 / (1.0 + tokens * engine.seconds_per_token)
