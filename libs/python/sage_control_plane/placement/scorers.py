"""Scorers: how well an engine suits a request, from 0 to 1."""

from __future__ import annotations

from typing import Protocol

from sage_control_plane.placement.engine_view import EngineView
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.request.request import PendingRequest

# Score of an engine without a prediction.
UNKNOWN = 0.5
# Predicted time to first token that scores 0.5.
HALF_SECONDS = 0.2
# A smaller cached share of the prompt is not worth an imbalance of load.
LEAST_MATCH = 0.1


class Scorer(Protocol):
    """One criterion. Scores of several scorers are added by weight."""

    def score(self, engine: EngineView, request: PendingRequest, now: float) -> float:
        """Return the score in [0, 1]; larger is better."""
        ...


class LeastWork:
    """Token-weighted least work: the sooner the engine would finish this request, the better.

    ``work = (outstanding tokens + the request's) * seconds per token``, and the score is ``1 / (1 + work)``.
    """

    def score(self, engine: EngineView, request: PendingRequest, now: float) -> float:
        tokens = engine.credits.tokens + request.classification.tokens
        return 1.0 / (1.0 + tokens * engine.seconds_per_token)


class SoonestStart:
    """The sooner the first token is predicted, the better: ``1 / (1 + predicted TTFT / 0.2 s)``.

    It keeps requests with a TTFT target off a slow engine, to which least work alone would give its share. Work with a
    far deadline does not need an early start and goes where there is least work.
    """

    def __init__(self, prefixes: PrefixIndex) -> None:
        self._prefixes = prefixes

    def score(self, engine: EngineView, request: PendingRequest, now: float) -> float:
        if request.classification.sheddable:
            return UNKNOWN
        ttft = _predicted_ttft(engine, request, self._prefixes)
        return UNKNOWN if ttft is None else 1.0 / (1.0 + ttft / HALF_SECONDS)


class PredictedHeadroom:
    """Least positive headroom first, so that other engines stay free; idlest first where none is positive.

    Headroom is the unused share of the request's targets: the smaller of ``(deadline - now - predicted
    TTFT) / TTFT target`` and ``(TPOT target - predicted TPOT) / TPOT target``. A positive one scores 1 down to 0.5, the
    less the better; a negative one below 0.5, the idler the engine the better.
    """

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
        target = request.classification.begin_target_seconds
        if target is None:
            return None
        ttft = _predicted_ttft(engine, request, self._prefixes)
        if ttft is None:
            return None
        headroom = (request.arrived_at + target - now - ttft) / target
        target_tpot = request.classification.slo.tpot_ms / 1000
        tpot = engine.forecast.tpot_seconds() if target_tpot else None
        if tpot is not None:
            headroom = min(headroom, (target_tpot - tpot) / target_tpot)
        return headroom


class PrefixAffinity:
    """Scores the matched share of the prompt where it is at least 0.1, unless the wait costs more than it saves.

    The wait is the predicted cost of the engine's present load; the saving is the prefill of the matched tokens.
    Without predictions the match counts while the engine is at most half full.

    A beginning that many prompts share draws no more of them to an engine that was given more than 1.25 times the mean
    to compute of late, where the excess is more than what computing the beginning elsewhere costs: each conversation
    that begins there comes back with every turn. What a conversation itself has said draws its next turn all the same.
    """

    def __init__(self, prefixes: PrefixIndex) -> None:
        self._prefixes = prefixes

    def score(self, engine: EngineView, request: PendingRequest, now: float) -> float:
        matched, branches = self._prefixes.match(engine.engine_id, request)
        if matched < LEAST_MATCH:
            return 0.0
        classification = request.classification
        saved = matched * classification.input_tokens
        if branches and self._prefixes.recent.is_ahead(classification.route, engine.engine_id, saved, now):
            return 0.0
        return matched if _pays(engine, request, saved) else 0.0


class SessionAffinity:
    """Scores the engine that had the session's last request, unless the wait costs more than its prompt.

    The score is the share of the prompt that is not known to be cached there; the rest ``PrefixAffinity`` scores. It is
    for what prompts do not show: images, texts that are shorter than a block, a beginning that changes. An engine that
    tells of its cache, and has nothing of a prompt that can be looked up, has nothing of the session either.
    """

    def __init__(self, prefixes: PrefixIndex) -> None:
        self._prefixes = prefixes

    def score(self, engine: EngineView, request: PendingRequest, now: float) -> float:
        classification = request.classification
        if not classification.session or not classification.generates:
            return 0.0
        prefixes, engine_id = self._prefixes, engine.engine_id
        if prefixes.sessions.get(classification.session) != engine_id:
            return 0.0
        matched = prefixes.matched(engine_id, request)
        if not matched and classification.prefix_blocks and prefixes.tells(engine_id):
            return 0.0
        return 1.0 - matched if _pays(engine, request, classification.input_tokens) else 0.0


def _pays(engine: EngineView, request: PendingRequest, cached_tokens: float) -> bool:
    """Return whether the wait that the engine's present load costs is no more than what the cached tokens save.

    Without predictions it pays while the engine is at most half full.
    """
    generates = request.classification.generates
    wait = engine.forecast.wait_seconds(generates)
    saved = engine.forecast.prefill_seconds(generates, cached_tokens)
    if wait is None or saved is None:
        return 2 * engine.credits.requests <= engine.credits.request_cap
    return wait <= saved


def _predicted_ttft(engine: EngineView, request: PendingRequest, prefixes: PrefixIndex) -> float | None:
    """Return the request's expected seconds to first token on the engine; None without a trusted prediction."""
    classification = request.classification
    uncached = classification.input_tokens * (1.0 - prefixes.matched(engine.engine_id, request))
    return engine.forecast.ttft_seconds(classification.generates, uncached)
