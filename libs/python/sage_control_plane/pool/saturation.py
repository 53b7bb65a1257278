"""Saturation of a pool: how much of its credits and of its time for prompts is in use."""

from __future__ import annotations

from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.reservation import Reservation
from sage_control_plane.prediction.latency_fits import LatencyFits


class Saturation:
    """Requests and prompts outstanding, summed over the engines as they change.

    Args:
        fits: of the pool's latencies.
        prompt_seconds: predicted seconds of prompts queued on an engine at which it counts as full.
        reservation: is told of each engine's part in the capacity.

    Attributes:
        usable: engines that take work.
        outstanding: attempts outstanding on all engines.
    """

    def __init__(self, fits: LatencyFits, prompt_seconds: float, reservation: Reservation) -> None:
        self._fits = fits
        self._reservation = reservation
        self._prompt_seconds = prompt_seconds
        self._queued_tokens = 0
        self._prompt_shares = 0.0
        self._capacity = 0
        self.usable = 0
        self.outstanding = 0

    @property
    def value(self) -> float:
        """Share of the pool in use: of its credits or of its time for prompts, whichever is more; 1 without engines."""
        if not self._capacity:
            return 1.0
        requests = self.outstanding / self._capacity
        if not self._queued_tokens:
            return requests
        return max(requests, min(1.0, self._prompt_shares / self.usable))

    def update_capacity(self, entry: EngineEntry) -> None:
        """Update what an engine adds to the capacity: its seats while it is usable, 0 otherwise."""
        capacity = entry.credits.seats if entry.usable else 0
        change = capacity - entry.capacity
        if change:
            self._capacity += change
            self._reservation.resize(entry, change)
            self.usable += bool(capacity) - bool(entry.capacity)
            entry.capacity = capacity
            self._share_prompts(entry)

    def add_prompts(self, entry: EngineEntry, tokens: int) -> None:
        """Add ``tokens`` to the prompts queued on an engine; negative removes them.

        An engine counts as full at most, however long its queue: a few long prompts must not make others seem busy too.
        """
        entry.forecast.queued_tokens += tokens
        self._queued_tokens += tokens
        self._share_prompts(entry)

    def remove(self, entry: EngineEntry) -> None:
        """Remove an engine with its requests."""
        self.outstanding -= entry.credits.requests
        self._capacity -= entry.capacity
        self.usable -= bool(entry.capacity)
        self.add_prompts(entry, -sum(attempt.queued_tokens for attempt in entry.running.values()))

    def _share_prompts(self, entry: EngineEntry) -> None:
        """Update an engine's part in the mean share of prompts; 0 while it is not usable."""
        prompts = entry.forecast.queued_tokens * self._fits.generating_price
        share = min(1.0, prompts / self._prompt_seconds) if entry.capacity else 0.0
        self._prompt_shares += share - entry.prompt_share
        entry.prompt_share = share
