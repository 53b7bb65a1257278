"""What work costs, in seconds of an engine: the unit in which tenants are charged for any kind of it."""

from __future__ import annotations

from sage_control_plane.request.request import Route

# Assumed prices of a token before anything was measured; an output token counts as two of input (VTC, Sheng et al.,
# OSDI '24).
FIRST_INPUT_PRICE = 1e-4
FIRST_OUTPUT_PRICE = 2e-4
# Output tokens that it takes to outweigh the assumption.
PRIOR_TOKENS = 1_000.0


class Prices:
    """Engine-seconds of an uncached input token and of an output token, for each route.

    What is charged adds up to what engines spend: an input token costs what it adds to the time of its prompt (the
    slope of the fitted TTFT, so that waiting for others costs nothing), and an output token its share of the time in
    which tokens came, less what prompts took of that. A stay on an engine says little of either: many stay while one is
    worked on.

    Args:
        memory_requests: requests after which an old one counts 1/e.
    """

    def __init__(self, memory_requests: float = 500.0) -> None:
        self._keep = 1 - 1 / memory_requests
        self._input: dict[Route, float] = {}
        self._output: dict[Route, tuple[float, float]] = {}

    def seconds(self, route: Route, uncached_tokens: float, output_tokens: int) -> float:
        """Return what a request of this size is charged."""
        price = self._input.get(route, FIRST_INPUT_PRICE)
        if not output_tokens:
            return uncached_tokens * price
        seconds, tokens = self._output.get(route, (0.0, 0.0))
        per_token = (seconds + PRIOR_TOKENS * FIRST_OUTPUT_PRICE) / (tokens + PRIOR_TOKENS)
        return uncached_tokens * price + output_tokens * per_token

    def learn_input(self, route: Route, seconds_per_token: float) -> None:
        """An engine has computed a prompt of the route, at this price."""
        price = self._input.get(route)
        keep = self._keep
        self._input[route] = seconds_per_token if price is None else price * keep + seconds_per_token * (1 - keep)

    def learn_output(self, route: Route, output_tokens: int, engine_seconds: float) -> None:
        """So many tokens were generated for a request of the route, in this share of an engine's time."""
        seconds, tokens = self._output.get(route, (0.0, 0.0))
        self._output[route] = (seconds * self._keep + engine_seconds, tokens * self._keep + output_tokens)
