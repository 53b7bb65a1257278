"""Credits: the requests and tokens that may be outstanding on one engine.

They keep the engine's own queue short, so that the scheduler's order decides.
"""

from __future__ import annotations

from sage_control_plane.pool.capacity import LearnedCapacity
from sage_control_plane.request.engine_state import CapacitySource, EngineSpec

# Shares of the KV cache in use at which new work to an engine stops, and at which it starts again.
KV_CLOSES = 0.95
KV_OPENS = 0.9
# Of the seats that an engine has shown, less urgent work may try one more in so many.
TRIED = 4


class Credits:
    """The requests and tokens outstanding on one engine, and their caps.

    ``max_concurrency * (1 + headroom)`` requests may be outstanding, rounded down and at least ``max_concurrency``; but
    no more than are known to be computed at once, where nobody said how many those are, than the engine's own queue
    shows to be, and than the largest batch that keeps its targets.

    Tokens are capped too where the engine's spec has a cap. A request larger than the whole cap may run alone, since it
    could not run otherwise.

    Attributes:
        learned: what is found out about the engine's capacity; None where somebody said it.
        request_cap: requests that may be outstanding.
    """

    __slots__ = (
        "_batch_cap",
        "_full_cap",
        "_kv_full",
        "_queue_cap",
        "_waited",
        "_waiting_allowed",
        "learned",
        "request_cap",
        "requests",
        "token_cap",
        "tokens",
    )

    def __init__(self, spec: EngineSpec, headroom: float) -> None:
        self.requests = 0
        self.tokens = 0
        self.learned: LearnedCapacity | None = None
        self.request_cap = 1
        self._kv_full = False
        self._batch_cap: int | None = None
        self._queue_cap: int | None = None
        self._waited = 0
        self.resize(spec, headroom)

    def resize(self, spec: EngineSpec, headroom: float, *, replaced: bool = False) -> None:
        """Take the caps from a spec. Outstanding requests stay, so they may exceed a cap that was lowered.

        Args:
            replaced: whether another server has taken the engine's place, of which nothing is known.
        """
        self._full_cap = max(1, int(spec.max_concurrency * (1 + headroom)))
        self._waiting_allowed = max(0, self._full_cap - spec.max_concurrency)
        self.token_cap = spec.max_outstanding_tokens
        if spec.capacity_source is not CapacitySource.UNKNOWN:
            self.learned = None
        elif self.learned is None:
            self.learned = LearnedCapacity(spec.max_concurrency)
        else:
            self.learned.resize(spec.max_concurrency)
            if replaced:
                self.learned.forget()
        self._queue_cap = None
        self._recap()

    def correct(self, engine_running: int, engine_waiting: int, kv_usage: float) -> None:
        """Correct the caps by the engine's reported queue and KV cache.

        Requests that wait there beyond the headroom should wait here, where order is decided, so the cap falls to what
        the engine runs; it grows back by a tenth with each report of an empty queue. A KV cache that is nearly full
        stops new work, since more would be preempted, until it has emptied a little.
        """
        self._kv_full = kv_usage >= (KV_OPENS if self._kv_full else KV_CLOSES)
        if self.learned is not None:
            self.learned.reported(engine_running, engine_waiting, self.requests)
        else:
            # A request that has come since the engine's last step waits for the next one, whatever room there is.
            waiting, self._waited = min(engine_waiting, self._waited), engine_waiting
            if waiting > self._waiting_allowed:
                batched = max(1, self.requests - waiting)
                self._queue_cap = min(self.request_cap, batched + self._waiting_allowed)
            elif self._queue_cap is not None and not engine_waiting:
                grown = self._queue_cap + max(1, self._full_cap // 10)
                self._queue_cap = grown if grown < self._full_cap else None
        self._recap()

    def began(self, decoding: int) -> None:
        """Learn from an answer that has begun, while ``decoding`` of them have."""
        if self.learned is not None:
            self.learned.began(decoding)
            self._recap()

    def ended(self, tokens: int, seconds: float, now: float, decoded: float | None) -> None:
        """Learn from a request that is complete and not given back yet: its tokens, its time since its dispatch, and
        that since it began, where it showed when."""
        if self.learned is not None:
            self.learned.ended(tokens, seconds, self.requests, now, decoded)
            self._recap()

    def reset_caps(self) -> None:
        """Go by the spec alone, because there is no recent report of the engine's load."""
        self._queue_cap = None
        self._kv_full = False
        self._recap()

    def limit_batch(self, requests: int | None) -> None:
        """Cap the requests at the largest batch that keeps its targets; None for no such cap."""
        self._batch_cap = requests
        self._recap()

    def _recap(self) -> None:
        learned = None if self.learned is None else self.learned.limit
        caps = (self._full_cap, self._batch_cap, self._queue_cap, learned)
        self.request_cap = max(1, min(cap for cap in caps if cap is not None))

    @property
    def seats(self) -> int:
        """Requests that are known to be computed at once, and some more while more are tried."""
        if self.learned is None:
            return self.request_cap
        shown = self.learned.shown
        return min(self.request_cap, shown + max(1, shown // TRIED))

    @property
    def corrected(self) -> bool:
        """Whether the engine's report narrows its caps now."""
        return self._kv_full or self._queue_cap is not None

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
