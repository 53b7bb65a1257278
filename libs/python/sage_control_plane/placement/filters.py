"""Filters: which engines may get work at all, and which may get this request.

Whether an engine serves the model is settled before, by the request's route; whether it has failed the request
already, by the request's lane.
"""

from __future__ import annotations

from typing import Protocol

from sage_control_plane.placement.engine_view import EngineView
from sage_control_plane.request.engine_state import EnginePhase
from sage_control_plane.request.request import PendingRequest

# Share of a target for the time between tokens that is planned with.
PACE_MARGIN = 0.9
# Prompts may take this part of the time of tokens, whatever the targets.
LEAST_PROMPTS = 0.25


class EngineFilter(Protocol):
    """Looks at an engine alone. Asked when the engine changes, so that a decision need not ask every engine."""

    name: str

    def admits(self, engine: EngineView) -> bool:
        """Whether the engine may get any request now."""
        ...


class RequestFilter(Protocol):
    """Looks at an engine for one request. Asked for the engines that the picker considers."""

    name: str

    def admits(self, engine: EngineView, request: PendingRequest) -> bool:
        """Whether the engine may get this request now."""
        ...


class Ready:
    """The engine accepts work."""

    name = "ready"

    def admits(self, engine: EngineView) -> bool:
        return engine.state.phase is EnginePhase.READY


class NotDraining:
    """No operator drains it."""

    name = "not_draining"

    def admits(self, engine: EngineView) -> bool:
        return not engine.draining


class BreakerAdmits:
    """Its breaker is closed, or half open with the probe still free."""

    name = "breaker"

    def admits(self, engine: EngineView) -> bool:
        return engine.breaker.admits


class HasSlot:
    """It has credit for one more request."""

    name = "has_slot"

    def admits(self, engine: EngineView) -> bool:
        return engine.credits.has_slot


class PrefillBudget:
    """The prompts that it has still to compute would not keep another, or the tokens of those before, waiting for long.

    What is beyond that waits better here, where the most urgent goes first. An engine without any always admits.

    Prompts are computed between tokens, so what may be queued is bounded too by what the tightest target for the time
    between tokens leaves beside the tokens themselves: who floods a pool with prompts would else break every answer
    under way. Prompts keep a part of the time even where that target cannot be met.

    Args:
        seconds: longest predicted wait.
    """

    name = "prompt_room"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def admits(self, engine: EngineView) -> bool:
        forecast = engine.forecast
        if not forecast.queued_tokens:
            return True
        room = self._seconds
        if engine.tightest_ms and forecast.decoding:
            step = forecast.step_seconds(forecast.decoding)
            if step is not None:
                between = max(PACE_MARGIN * engine.tightest_ms / 1000 - step, LEAST_PROMPTS * step)
                # Targets are for the mean over an answer, so a short burst of prompts does no harm.
                strict = 2.0 * forecast.prompt_share * (step + between) / between - 1.0
                if strict > 0.0:
                    # The one that fills the room goes beyond it, by half a prompt as it is met by chance.
                    least = between - forecast.half_a_prompt_seconds
                    room = min(room, room + (least - room) * min(1.0, strict))
        return forecast.prompt_seconds() < room


class TokensFit:
    """It has credit for the request's tokens."""

    name = "tokens_fit"

    def admits(self, engine: EngineView, request: PendingRequest) -> bool:
        return engine.credits.fits(request.classification.tokens)


def engine_filters(prompt_seconds: float) -> list[EngineFilter]:
    """The filters on engines, cheapest first. ``prompt_seconds``: see ``PrefillBudget``."""
    return [Ready(), NotDraining(), BreakerAdmits(), HasSlot(), PrefillBudget(prompt_seconds)]


def request_filters() -> list[RequestFilter]:
    """The filters on an engine for a request."""
    return [TokensFit()]
