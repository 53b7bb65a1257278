"""Filters: which engines may get work at all, and which may get this request.

Whether an engine serves the model is settled before, by the request's route; whether it has failed the request
already, by the request's lane.
"""

from __future__ import annotations

from typing import Protocol

from sage_control_plane.engines import EnginePhase
from sage_control_plane.placement.engine_view import EngineView
from sage_control_plane.requests import PendingRequest


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


class PromptRoom:
    """The prompts that it has still to compute would not keep another waiting for long.

    What is beyond that waits better here, where the most urgent goes first. An engine without any always admits.

    Args:
        seconds: longest predicted wait.
    """

    name = "prompt_room"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def admits(self, engine: EngineView) -> bool:
        return not engine.forecast.queued_tokens or engine.forecast.prompt_seconds() < self._seconds


class TokensFit:
    """It has credit for the request's tokens."""

    name = "tokens_fit"

    def admits(self, engine: EngineView, request: PendingRequest) -> bool:
        return engine.credits.fits(request.classification.tokens)


def engine_filters(prompt_seconds: float) -> list[EngineFilter]:
    """The filters on engines, cheapest first. ``prompt_seconds``: see ``PromptRoom``."""
    return [Ready(), NotDraining(), BreakerAdmits(), HasSlot(), PromptRoom(prompt_seconds)]


def request_filters() -> list[RequestFilter]:
    """The filters on an engine for a request."""
    return [TokensFit()]
