"""Credits: how much may be outstanding on one engine.

They keep the engine's own queue shallow, which is what makes the order decided here matter.
"""

from __future__ import annotations

from sage_control_plane.engines import EngineSpec


class Credits:
    """The requests and tokens outstanding on one engine, and their caps.

    ``max_concurrency * (1 + headroom)`` requests may be outstanding, rounded down and at least ``max_concurrency``:
    the headroom hides the round trip between an answer's end and the next dispatch.

    Tokens are capped too where the engine says so, except that a request larger than the whole cap may run alone:
    else it could never run.
    """

    __slots__ = ("request_cap", "requests", "token_cap", "tokens")

    def __init__(self, spec: EngineSpec, headroom: float) -> None:
        self.requests = 0
        self.tokens = 0
        self.resize(spec, headroom)

    def resize(self, spec: EngineSpec, headroom: float) -> None:
        """Take the caps from a spec. What is outstanding stays, so it may be above a cap that was lowered."""
        self.request_cap = max(1, int(spec.max_concurrency * (1 + headroom)))
        self.token_cap = spec.max_outstanding_tokens

    @property
    def has_slot(self) -> bool:
        """Whether one more request may be outstanding, whatever its size."""
        return self.requests < self.request_cap

    def fits(self, tokens: int) -> bool:
        """Whether a request of this size may be outstanding too."""
        if self.requests >= self.request_cap:
            return False
        return not self.token_cap or not self.requests or self.tokens + tokens <= self.token_cap

    def take(self, tokens: int) -> None:
        """Spend credit. What an engine runs already (found by heartbeat) is taken though it may not fit."""
        self.requests += 1
        self.tokens += tokens

    def give(self, tokens: int) -> None:
        """Get credit back.

        Raises:
            ValueError: more was given than taken; the books are wrong.
        """
        if self.requests < 1 or self.tokens < tokens:
            raise ValueError(f"credit for {tokens} tokens returned, {self.requests} requests and {self.tokens} are out")
        self.requests -= 1
        self.tokens -= tokens
