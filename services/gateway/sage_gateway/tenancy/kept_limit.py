"""One limit of a tenant as a gateway keeps it, and what a request reserves of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sage_common.quota.holding import Holding
from sage_common.quota.meter import Meter, Unit
from sage_common.value_type import value_type
from sage_platform.quota_records import QuotaRecords

Amounts = Mapping[Unit, int]


@value_type
class Reservation:
    """What a request has reserved of each limit; to be settled once."""

    parts: tuple[tuple[Holding, Unit, int], ...]

    def settle(self, spent: Amounts) -> None:
        """Replace it by what the request has come to."""
        for holding, unit, amount in self.parts:
            holding.settle(amount, spent.get(unit, 0))


@dataclass(slots=True)
class KeptLimit:
    """A meter, this gateway's part of it, and the records that it is in."""

    meter: Meter
    holding: Holding
    records: QuotaRecords


@dataclass(frozen=True, slots=True)
class LimitState:
    """A limit, what is neither spent nor reserved of it, and in how many seconds all of it is there again."""

    meter: Meter
    left: int
    resets_seconds: float
