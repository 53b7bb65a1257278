"""How replicas share the pools out: rules only.

A free pool goes at once to whoever holds fewest; the others wait a moment and then take it too, in case that replica
is dead and only still registered. A replica gives a pool up when another holds at least two fewer. Both rules hold
``ceil(pools / replicas)`` as the most that anyone keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

GRACE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Shares:
    """Who holds what, as one replica sees it.

    Attributes:
        replica: this replica's instance id.
        replicas: the instance ids of all that are registered.
        holders: the replica that holds each pool that is held.
    """

    replica: str
    replicas: Collection[str]
    holders: Mapping[str, str]

    def may_take(self, free_seconds: float) -> bool:
        """Whether this replica may campaign for a pool that has been free for so long."""
        if free_seconds >= GRACE_SECONDS:
            return True
        return free_seconds >= 0 and self._held(self.replica) <= self._fewest()

    def to_give_up(self) -> str | None:
        """A pool that this replica should give up; None when the shares are fair."""
        mine = sorted(pool for pool, holder in self.holders.items() if holder == self.replica)
        return mine[-1] if len(mine) >= self._fewest() + 2 else None

    def _held(self, replica: str) -> int:
        return Counter(self.holders.values())[replica]

    def _fewest(self) -> int:
        held = Counter(self.holders.values())
        return min((held[replica] for replica in {*self.replicas, self.replica}), default=0)
