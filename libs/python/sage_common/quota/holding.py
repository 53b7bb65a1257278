"""What this replica holds of one limit, between two exchanges with the record."""

from __future__ import annotations

from sage_common.quota.account import Claim, Holder


class Holding:
    """A replica's part of one limit.

    ``reserve`` and ``settle`` are all that a request costs. ``claim`` says what to write, ``planned`` before and
    ``written`` after it was: meanwhile no more is given out than both the old record and the new one allow.
    """

    __slots__ = ("_acknowledged", "_held", "reserved", "settled")

    def __init__(self) -> None:
        self._held = 0
        self._acknowledged = 0
        self.reserved = 0
        self.settled = 0

    @property
    def available(self) -> int:
        """What may be reserved without asking; below 0 where requests have come to more than was reserved."""
        return self._held - self.reserved - (self.settled - self._acknowledged)

    @property
    def unreported(self) -> int:
        """What was spent and the record does not know."""
        return self.settled - self._acknowledged

    @property
    def is_settled(self) -> bool:
        """Whether the record knows everything that was spent."""
        return self.settled == self._acknowledged

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held, reserved, or spent and not reported."""
        return not self._held and not self.reserved and self.is_settled

    def reserve(self, amount: int) -> bool:
        """Reserve an amount where it is there; return whether it was."""
        if amount > max(0, self.available):
            return False
        self.reserved += amount
        return True

    def settle(self, reserved: int, spent: int) -> None:
        """Replace a reservation by what its request has come to."""
        self.reserved -= reserved
        self.settled += spent

    def claim(self, need: int, *, spare: bool) -> Claim:
        """Return what to write in order to have ``need`` available."""
        return Claim(self.reserved, self.settled, self._acknowledged, need, spare)

    def planned(self, holder: Holder) -> None:
        """Give out no more than a record that is about to be written leaves."""
        self._held -= max(0, self.available - (holder.held - holder.reserved))

    def written(self, holder: Holder) -> None:
        """Take what the record that was written gives."""
        self._held = holder.held
        self._acknowledged = holder.settled

    def lost(self) -> None:
        """Give up what is held: others may have it by now."""
        self._held = min(self._held, self.reserved + (self.settled - self._acknowledged))
