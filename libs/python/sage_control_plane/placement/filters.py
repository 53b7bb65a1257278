"""Filters: which engines may get work at all, and which may get one request.

The request's route decides before that which engines serve its model, and its lane which of them have failed it.
"""

from __future__ import annotations

from typing import Protocol

from sage_control_plane.placement.engine_view import EngineView
from sage_control_plane.request.request import PendingRequest

# Share of a target for the time between tokens that may be planned for.
PACE_MARGIN = 0.9
# Prompts may take this multiple of the time of tokens, whatever the targets.
LEAST_PROMPTS = 0.25


class EngineFilter(Protocol):
    """A filter on an engine alone. It is applied when the engine changes, not at every decision."""

    name: str

    def admits(self, engine: EngineView) -> bool:
        """Return whether the engine may get any request now."""
        ...


class RequestFilter(Protocol):
    """A filter on an engine for one request. It is applied to the engines that the picker considers."""

    name: str

    def admits(self, engine: EngineView, request: PendingRequest) -> bool:
        """Return whether the engine may get this request now."""
        ...


class Usable:
    """The engine is ready, no operator drains it, and its breaker is closed, or half open without a probe under way."""

    name = "usable"

    def admits(self, engine: EngineView) -> bool:
        return engine.usable


class HasSlot:
    """The engine has credit for one more request."""

    name = "has_slot"

    def admits(self, engine: EngineView) -> bool:
        return engine.credits.has_slot


class PrefillBudget:
    """The engine's queued prompts delay neither another prompt nor the tokens of running answers for long.

    Further prompts wait in the scheduler, where the most urgent goes first. An engine without queued prompts admits.

    Prompts are computed between tokens, so the queue is also bounded by the time that the tightest target for the time
    between tokens leaves beside the tokens themselves: a flood of prompts would otherwise break every running answer.
    Prompts keep a part of the time even where that target cannot be met.

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
        budget = self._seconds
        if engine.tightest_ms and forecast.decoding:
            step = forecast.step_seconds(forecast.decoding)
            if step is not None:
                between = max(PACE_MARGIN * engine.tightest_ms / 1000 - step, LEAST_PROMPTS * step)
                # Targets are for the mean over an answer, so a short burst of prompts does no harm.
                strict = 2.0 * forecast.prompt_share * (step + between) / between - 1.0
                if strict > 0.0:
                    # The prompt that fills the budget exceeds it, by half a prompt on average.
                    least = between - forecast.half_a_prompt_seconds
                    budget = min(budget, budget + (least - budget) * min(1.0, strict))
        return forecast.prompt_seconds() < budget


class TokensFit:
    """The engine has credit for the request's tokens."""

    name = "tokens_fit"

    def admits(self, engine: EngineView, request: PendingRequest) -> bool:
        return engine.credits.fits(request.classification.tokens)


def engine_filters(prompt_seconds: float) -> list[EngineFilter]:
    """Return the filters on engines, cheapest first. ``prompt_seconds``: see ``PrefillBudget``."""
    return [Usable(), HasSlot(), PrefillBudget(prompt_seconds)]


def request_filters() -> list[RequestFilter]:
    """Return the filters on an engine for a request."""
    return [TokensFit()]
