"""Prices of work in engine-seconds, the unit in which tenants are charged for every kind of work."""

from __future__ import annotations

from sage_control_plane.request.request import Route

# Initial prices of a token, in engine-seconds; an output token costs two of input (VTC, Sheng et al., OSDI '24).
FIRST_INPUT_PRICE = 1e-4
FIRST_OUTPUT_PRICE = 2e-4
# Weight of the initial output price, in tokens.
PRIOR_TOKENS = 1_000.0


class Prices:
    """Engine-seconds of an uncached input token and of an output token, for each route.

    Charges add up to the time that engines spend. An input token costs what it adds to the time of its prompt, a fitted
    slope, so that waiting for other requests is free; an output token costs its share of the decoding time, without the
    time that prompts took of it. The time that a request stays on an engine measures neither: many stay at once.

    Args:
        memory_requests: requests after which an old one counts 1/e.
    """

    def __init__(self, memory_requests: float = 500.0) -> None:
        self._keep = 1 - 1 / memory_requests
        self._input: dict[Route, float] = {}
        self._output: dict[Route, tuple[float, float]] = {}

    def seconds(self, route: Route, uncached_tokens: float, output_tokens: int) -> float:
        """Return the price of a request, in engine-seconds."""
        price = self._input.get(route, FIRST_INPUT_PRICE)
        if not output_tokens:
            return uncached_tokens * price
        seconds, tokens = self._output.get(route, (0.0, 0.0))
        per_token = (seconds + PRIOR_TOKENS * FIRST_OUTPUT_PRICE) / (tokens + PRIOR_TOKENS)
        return uncached_tokens * price + output_tokens * per_token

    def learn_input(self, route: Route, seconds_per_token: float) -> None:
        """Learn from the price of a prompt of the route."""
        price = self._input.get(route)
        keep = self._keep
        self._input[route] = seconds_per_token if price is None else price * keep + seconds_per_token * (1 - keep)

    def learn_output(self, route: Route, output_tokens: int, engine_seconds: float) -> None:
        """Learn from an answer of the route and its share of an engine's time."""
        seconds, tokens = self._output.get(route, (0.0, 0.0))
        self._output[route] = (seconds * self._keep + engine_seconds, tokens * self._keep + output_tokens)
