"""Virtual token counters: the service that each tenant has received, in engine-seconds by weight."""

from __future__ import annotations

from collections.abc import Mapping

from sage_common.removable_heap import RemovableHeap

# Idle tenants whose counters are kept; beyond it the smallest counters are dropped.
MOST_IDLE = 4_096
# Refunds below this, in engine-seconds, are kept for the next charge.
SMALL_SECONDS = 0.25


class VirtualCounters:
    """The counter of each tenant (VTC: Sheng et al., Fairness in Serving Large Language Models, OSDI '24).

    A tenant's counter grows by the service it gets, divided by its weight, and the smallest is served first. A tenant
    that becomes active is lifted to the smallest active counter, less a credit: without one, a tenant that uses a
    little less than its share would wait with each request until the others have been served as much.

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
        """Tenants with queued requests."""
        return len(self._queued)

    def any_below(self, most: float) -> bool:
        """Return whether an active tenant has a counter below ``most``."""
        # Places are only updated as far as the answer needs, so that a call for each request is cheap.
        active, counters = self._active, self._counters
        while (first := active.peek()) is not None and first[0][0] < most:
            tenant = first[1]
            value = counters[tenant]
            if value < most:
                return True
            active.push(tenant, (value, tenant))
        return False

    def joined(self, tenant: str, credit: float = 0.0) -> None:
        """Count a queued request. ``credit``: how far below the others a waking tenant may start, in engine-seconds."""
        queued = self._queued.get(tenant, 0)
        self._queued[tenant] = queued + 1
        if not queued:
            self._counters[tenant] = max(self._counters.get(tenant, 0.0), self._smallest_active() - credit)
            self._active.push(tenant, (self._counters[tenant], tenant))

    def left(self, tenant: str) -> None:
        """Take a request off the count that has left the queue."""
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
        """Add to a tenant's counter, or refund when negative; return whether the counter has become smaller.

        A small refund is deducted from the next charge instead, so that corrections, which come with every other
        request, do not reorder the queues.
        """
        owed = engine_seconds + self._owed.pop(tenant, 0.0) if self._owed else engine_seconds
        if -SMALL_SECONDS < owed < 0.0:
            self._owed[tenant] = owed
            return False
        weight = self._weights.get(tenant, 1.0) if self._weights else 1.0
        value = self._counters.get(tenant, self._floor) + owed / weight
        self._counters[tenant] = value if value > 0.0 else 0.0
        if owed < 0.0 and tenant in self._queued:
            self._active.push(tenant, (self._counters[tenant], tenant))
        return owed < 0.0

    def _smallest_active(self) -> float:
        # Counters grow with every request, so a tenant's place is only updated when it comes to the top.
        active, counters = self._active, self._counters
        while (first := active.peek()) is not None:
            (shown, tenant), _ = first
            value = counters[tenant]
            if value <= shown:
                return max(self._floor, value)
            active.push(tenant, (value, tenant))
        # No tenant is active: the next one starts where the last one left.
        return self._floor

    def _forget(self) -> None:
        idle = [tenant for tenant in self._counters if tenant not in self._queued]
        owing = sorted(idle, key=lambda tenant: self._counters[tenant], reverse=True)[: MOST_IDLE // 2]
        self._counters = {t: self._counters[t] for t in (*self._queued, *owing)}
        self._owed = {t: owed for t, owed in self._owed.items() if t in self._counters}
