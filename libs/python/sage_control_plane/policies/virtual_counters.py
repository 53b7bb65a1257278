"""Virtual token counters: who has been served how much, in engine-seconds by weight."""

from __future__ import annotations

from collections.abc import Mapping

from sage_common.removable_heap import RemovableHeap

# Idle tenants whose counters are remembered; beyond it those that owe nothing are forgotten.
MOST_IDLE = 4_096
# Engine-seconds that are not given back at once.
SMALL_SECONDS = 0.25


class VirtualCounters:
    """The counter of each tenant (VTC: Sheng et al., Fairness in Serving Large Language Models, OSDI '24).

    A tenant's counter grows by what it is served, divided by its weight, and the smallest is served first. A tenant
    that wakes is lifted to the smallest counter of those that are active, less a credit: with none, one that asks for
    just less than its share would wait for each of its requests until the others have been served as much.

    Args:
        weights: shares by tenant; 1 for those not named.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._counters: dict[str, float] = {}
        self._queued: dict[str, int] = {}
        self._owed: dict[str, float] = {}
        self._active: RemovableHeap[str] = RemovableHeap()
        self._floor = 0.0

    def value(self, tenant: str) -> float:
        """Return the tenant's counter."""
        return self._counters.get(tenant, self._floor)

    @property
    def active(self) -> int:
        """Tenants that have something queued."""
        return len(self._queued)

    def any_below(self, most: float) -> bool:
        """Whether one of those has a smaller counter than this."""
        # Places are brought up to date only as far as the question goes, so that it is cheap to ask for each request.
        active, counters = self._active, self._counters
        while (first := active.peek()) is not None and first[0][0] < most:
            tenant = first[1]
            value = counters[tenant]
            if value < most:
                return True
            active.push(tenant, (value, tenant))
        return False

    def joined(self, tenant: str, credit: float = 0.0) -> None:
        """A request of the tenant is queued. ``credit``: how far behind the others it may begin, in engine-seconds."""
        queued = self._queued.get(tenant, 0)
        self._queued[tenant] = queued + 1
        if not queued:
            self._counters[tenant] = max(self._counters.get(tenant, 0.0), self._smallest_active() - credit)
            self._active.push(tenant, (self._counters[tenant], tenant))

    def left(self, tenant: str) -> None:
        """A request of the tenant has left the queue."""
        queued = self._queued[tenant] - 1
        if queued:
            self._queued[tenant] = queued
            return
        self._floor = self._smallest_active()
        del self._queued[tenant]
        self._active.remove(tenant)
        if len(self._counters) > MOST_IDLE + 2 * len(self._queued):
            self._forget()

    def charge(self, tenant: str, engine_seconds: float) -> bool:
        """The tenant was served so much, or gets it back when negative. Return whether its counter has become smaller.

        A small sum to give back is taken off its next charge, so that corrections, which come with every other request,
        move nobody in the queues.
        """
        owed = engine_seconds + self._owed.pop(tenant, 0.0)
        if -SMALL_SECONDS < owed < 0.0:
            self._owed[tenant] = owed
            return False
        weight = self._weights.get(tenant, 1.0) if self._weights else 1.0
        value = self.value(tenant) + owed / weight
        self._counters[tenant] = value if value > 0.0 else 0.0
        if owed < 0.0 and tenant in self._queued:
            self._active.push(tenant, (self._counters[tenant], tenant))
        return owed < 0.0

    def _smallest_active(self) -> float:
        # Counters grow with every request, so their places are brought up to date only when they come to the top.
        active, counters = self._active, self._counters
        while (first := active.peek()) is not None:
            (shown, tenant), _ = first
            value = counters[tenant]
            if value <= shown:
                return max(self._floor, value)
            active.push(tenant, (value, tenant))
        # Nobody is active: who wakes first begins where the last one left.
        return self._floor

    def _forget(self) -> None:
        idle = [tenant for tenant in self._counters if tenant not in self._queued]
        owing = sorted(idle, key=lambda tenant: self._counters[tenant], reverse=True)[: MOST_IDLE // 2]
        self._counters = {t: self._counters[t] for t in (*self._queued, *owing)}
        self._owed = {t: owed for t, owed in self._owed.items() if t in self._counters}
