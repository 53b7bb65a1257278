"""Prompts that an engine has computed lately: how much of them, and how large they are."""

from __future__ import annotations

from sage_control_plane.prediction.pace import DecayedRate

# What counts as usual: the time of some answers and prompts.
USUAL_SECONDS = 20.0
# Weight of a prompt's size after each further prompt.
PROMPT_MEMORY = 0.99


class ComputedPrompts:
    """Prompts of one kind, in tokens: what a token costs is known later, and better, than that it was computed."""

    __slots__ = ("_rate", "_sizes", "_squares")

    def __init__(self) -> None:
        self._rate = DecayedRate(USUAL_SECONDS)
        self._sizes = 0.0
        self._squares = 0.0

    def add(self, tokens: float, now: float) -> None:
        """Count a prompt of so many uncached tokens."""
        self._rate.add(tokens, now)
        self._sizes = self._sizes * PROMPT_MEMORY + tokens
        self._squares = self._squares * PROMPT_MEMORY + tokens * tokens

    def share(self, seconds_per_token: float, now: float) -> float:
        """Return the share of the engine's time that they usually take."""
        return self._rate.per_second(now) * seconds_per_token

    def moments(self, seconds_per_token: float) -> tuple[float, float]:
        """Return the sums of the prompts' seconds and of their squares, the latest with the most weight."""
        return self._sizes * seconds_per_token, self._squares * seconds_per_token * seconds_per_token
