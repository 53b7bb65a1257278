"""What tokens cost, in seconds of an engine: the unit in which tenants are charged for any kind of work."""

from __future__ import annotations

from sage_control_plane.requests import Route

# An output token counts as this many input tokens (VTC, Sheng et al., OSDI '24).
OUTPUT_WEIGHT = 2.0
# Assumed price of a unit before anything was measured, and how many units it takes to outweigh that.
FIRST_PRICE = 1e-4
PRIOR_UNITS = 2_000.0


def units(input_tokens: int, output_tokens: int) -> float:
    """Return the tokens of a request, weighted."""
    return input_tokens + OUTPUT_WEIGHT * output_tokens


class Prices:
    """Engine-seconds per unit for each route, as a decayed ratio of sums.

    A request's engine-seconds are the integral over its stay of 1 / (requests on the engine): what it would have taken
    of the engine's time if all present had got equal shares.

    Args:
        memory_requests: requests after which an old one counts 1/e.
    """

    def __init__(self, memory_requests: float = 500.0) -> None:
        self._keep = 1 - 1 / memory_requests
        self._sums: dict[Route, tuple[float, float]] = {}

    def seconds(self, route: Route, input_tokens: int, output_tokens: int) -> float:
        """Return what a request of this size is charged."""
        seconds, total = self._sums.get(route, (0.0, 0.0))
        price = (seconds + PRIOR_UNITS * FIRST_PRICE) / (total + PRIOR_UNITS)
        return units(input_tokens, output_tokens) * price

    def learn(self, route: Route, input_tokens: int, output_tokens: int, engine_seconds: float) -> None:
        """A request of this size took so much."""
        seconds, total = self._sums.get(route, (0.0, 0.0))
        self._sums[route] = (
            seconds * self._keep + engine_seconds,
            total * self._keep + units(input_tokens, output_tokens),
        )
