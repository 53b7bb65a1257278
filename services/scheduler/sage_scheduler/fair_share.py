"""The rules by which replicas share the pools.

The replica with the fewest pools may take a free one at once; the others wait ``GRACE_SECONDS``, in case that replica
is dead but still registered. A replica gives a pool up when another has at least two fewer. Under both rules no
replica keeps more than ``ceil(pools / replicas)``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

GRACE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Shares:
    """The leader of each pool, as one replica sees it.

    Attributes:
        replica: this replica's instance id.
        replicas: the instance ids of all that are registered.
        holders: the leader of each pool that has one.
    """

    replica: str
    replicas: Collection[str]
    holders: Mapping[str, str]

    def may_take(self, free_seconds: float) -> bool:
        """Return whether this replica may campaign for a pool that has been free this long; negative is not free."""
        if free_seconds >= GRACE_SECONDS:
            return True
        return free_seconds >= 0 and self._count(self.replica) <= self._fewest()

    def to_give_up(self) -> str | None:
        """Return a pool that this replica should give up; None when the shares are fair."""
        mine = sorted(pool for pool, holder in self.holders.items() if holder == self.replica)
        return mine[-1] if len(mine) >= self._fewest() + 2 else None

    def _count(self, replica: str) -> int:
        return Counter(self.holders.values())[replica]

    def _fewest(self) -> int:
        counts = Counter(self.holders.values())
        return min((counts[replica] for replica in {*self.replicas, self.replica}), default=0)
