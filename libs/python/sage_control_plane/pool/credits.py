"""Credits: the requests and tokens that may be outstanding on one engine.

They keep the engine's own queue short, so that the scheduler's order decides.
"""

from __future__ import annotations

from sage_control_plane.request.engine_state import EngineSpec

# Shares of the KV cache in use at which new work to an engine stops, and at which it starts again.
KV_CLOSES = 0.95
KV_OPENS = 0.9


class Credits:
    """The requests and tokens outstanding on one engine, and their caps.

    ``max_concurrency * (1 + headroom)`` requests may be outstanding, rounded down and at least ``max_concurrency``:
    the headroom hides the round trip between an answer's end and the next dispatch.

    Tokens are capped too where the engine's spec has a cap. A request larger than the whole cap may run alone, since it
    could not run otherwise.
    """

    __slots__ = ("_batch_cap", "_full_cap", "_kv_full", "_waited", "_waiting_allowed", "request_cap", "requests", "token_cap", "tokens")

    def __init__(self, spec: EngineSpec, headroom: float) -> None:
        self.requests = 0
        self.tokens = 0
        self._kv_full = False
        self._batch_cap: int | None = None
        self._waited = 0
        self.resize(spec, headroom)

    def resize(self, spec: EngineSpec, headroom: float) -> None:
        """Take the caps from a spec. Outstanding requests stay, so they may exceed a cap that was lowered."""
        self._full_cap = max(1, int(spec.max_concurrency * (1 + headroom)))
        self.request_cap = self._most
        self._waiting_allowed = max(0, self._full_cap - spec.max_concurrency)
        self.token_cap = spec.max_outstanding_tokens

    def correct(self, engine_waiting: int, kv_usage: float) -> None:
        """Correct the caps by the engine's reported queue and KV cache.

        Requests that wait there beyond the headroom should wait here, where order is decided, so the cap falls to what
        the engine runs; it grows back by a tenth with each report of an empty queue. A KV cache that is nearly full
        stops new work, since more would be preempted, until it has emptied a little.
        """
        # A request that has come since the engine's last step waits for the next one, whatever room there is.
        waiting, self._waited = min(engine_waiting, self._waited), engine_waiting
        if waiting > self._waiting_allowed:
            batched = max(1, self.requests - waiting)
            self.request_cap = min(self.request_cap, batched + self._waiting_allowed)
        elif self.request_cap < self._most and not engine_waiting:
            self.request_cap = min(self._most, self.request_cap + max(1, self._full_cap // 10))
        self._kv_full = kv_usage >= (KV_OPENS if self._kv_full else KV_CLOSES)

    def reset_caps(self) -> None:
        """Go by the spec alone, because there is no recent report of the engine's load."""
        self.request_cap = self._most
        self._kv_full = False

    def limit_batch(self, requests: int | None) -> None:
        """Cap the requests at the largest batch that keeps its targets; None for no such cap."""
        self._batch_cap = requests
        if self.request_cap > self._most:
            self.request_cap = self._most

    @property
    def _most(self) -> int:
        return self._full_cap if self._batch_cap is None else max(1, min(self._full_cap, self._batch_cap))

    @property
    def corrected(self) -> bool:
        """Whether the engine's report narrows its caps now."""
        return self._kv_full or self.request_cap < self._most

    @property
    def has_slot(self) -> bool:
        """Whether one more request may be outstanding, whatever its size."""
        return self.requests < self.request_cap and not (self._kv_full and self.requests)

    def fits(self, tokens: int) -> bool:
        """Return whether a request of this size may be outstanding too."""
        if not self.has_slot:
            return False
        return not self.token_cap or not self.requests or self.tokens + tokens <= self.token_cap

    def take(self, tokens: int) -> None:
        """Spend credit, even beyond the caps: adopted requests run already."""
        self.requests += 1
        self.tokens += tokens

    def give(self, tokens: int) -> None:
        """Return credit.

        Raises:
            ValueError: more would be returned than was taken, which is a defect of the caller.
        """
        if self.requests < 1 or self.tokens < tokens:
            raise ValueError(f"credit for {tokens} tokens returned, {self.requests} requests and {self.tokens} are out")
        self.requests -= 1
        self.tokens -= tokens
