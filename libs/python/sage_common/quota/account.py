"""What is spent of one limit, and what replicas hold of it: the record that they share by compare-and-set.

A replica takes more than it needs at once, so that most requests ask nobody. It reports what it has spent as a total
that only grows: a report that is made twice, since nobody knows whether the first arrived, counts once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sage_common.quota.meter import Meter, Period, period_end, period_start

# A replica takes this part of what is free beyond what it needs: little where little is left.
SPARE_PART = 8


@dataclass(frozen=True, slots=True)
class Holder:
    """What one replica has of a limit.

    Attributes:
        held: what it may spend without asking, what is reserved included.
        reserved: by requests that it has admitted, when it last wrote.
        settled: everything that its requests have come to since it started.
        wanted: what it needs and others hold without need; 0 for nothing.
    """

    held: int = 0
    reserved: int = 0
    settled: int = 0
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """One limit's record.

    Attributes:
        spent: what counts against the limit; a fraction where it drains.
        at: when that was so, in seconds since 1970-01-01 UTC by the server's clock.
        holders: by replica. One that holds nothing stays, for its total.
    """

    spent: float = 0
    at: float = 0.0
    holders: Mapping[str, Holder] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a replica writes of itself.

    Attributes:
        reserved: by requests that it has admitted.
        settled: its total.
        acknowledged: the total up to which it knows that it was counted, where the record has forgotten the replica.
        need: what it needs beyond what is reserved.
        spare: whether it takes some more for what comes next.
    """

    reserved: int
    settled: int
    acknowledged: int
    need: int = 0
    spare: bool = True


def brought_forward(account: Account, meter: Meter, now: float) -> Account:
    """Return the account at a later time: drained, or empty where a new day or month has begun. A time before the
    account's own changes nothing."""
    return account if now <= account.at else replace(account, spent=_spent_at(account, meter, now), at=now)


def _spent_at(account: Account, meter: Meter, now: float) -> float:
    """Return what counts against the limit at a time, without an account of that time: every request asks."""
    if now <= account.at or meter.period is Period.HELD:
        return account.spent
    if meter.period is Period.MINUTE:
        return max(0.0, account.spent - meter.limit * (now - account.at) / 60)
    return 0 if account.at < period_start(meter.period, now) else account.spent


def exchange(account: Account, meter: Meter, replica: str, claim: Claim, now: float) -> Account:
    """Return the account after a replica has reported what it spent, and taken or given back.

    What it has reserved it keeps, whatever the limit has become. What it holds beyond that fits the limit.
    """
    account = _charged(brought_forward(account, meter, now), meter, replica, claim.settled, claim.acknowledged)
    others = [holder for name, holder in account.holders.items() if name != replica]
    free = math.floor(meter.limit - account.spent) - sum(holder.held for holder in others) - claim.reserved
    room = max(0, free)
    wanted_elsewhere = any(holder.wanted for holder in others)
    spare = (room - claim.need) // SPARE_PART if claim.spare and not wanted_elsewhere else 0
    granted = min(room, claim.need + max(0, spare))
    idle_elsewhere = sum(max(0, holder.held - holder.reserved) for holder in others)
    is_short = granted < claim.need and idle_elsewhere > 0
    holder = Holder(claim.reserved + granted, claim.reserved, claim.settled, claim.need if is_short else 0)
    return replace(account, holders={**account.holders, replica: holder})


def lapse(account: Account, meter: Meter, replica: str, settled: int, now: float) -> Account:
    """Return the account after what a dead replica held has come back, and what it is known to have spent counts."""
    before = account.holders[replica]
    account = _charged(brought_forward(account, meter, now), meter, replica, max(settled, before.settled), 0)
    return replace(account, holders={**account.holders, replica: Holder(settled=max(settled, before.settled))})


def forget(account: Account, replica: str) -> Account:
    """Return the account without a replica that holds nothing and will not come again."""
    holder = account.holders.get(replica)
    if holder is None or holder.held or holder.wanted:
        return account
    return replace(account, holders={name: each for name, each in account.holders.items() if name != replica})


def remaining(account: Account, meter: Meter, now: float) -> int:
    """Return what is neither spent nor reserved, as far as replicas have reported; at least 0."""
    account = brought_forward(account, meter, now)
    reserved = sum(holder.reserved for holder in account.holders.values())
    return max(0, math.floor(meter.limit - account.spent) - reserved)


def headroom(account: Account, meter: Meter, replica: str, reserved: int, unreported: int, now: float) -> int:
    """As ``remaining``, with what one replica has reserved and spent in place of what it has reported of that; may be
    below 0."""
    spent = _spent_at(account, meter, now)
    elsewhere = sum(holder.reserved for name, holder in account.holders.items() if name != replica)
    return math.floor(meter.limit - spent) - elsewhere - reserved - (0 if meter.period is Period.HELD else unreported)


def seconds_until(account: Account, meter: Meter, amount: int, now: float) -> float:
    """Return when so much could be had if nobody spent anything, in seconds from now."""
    account = brought_forward(account, meter, now)
    missing = amount - (meter.limit - account.spent)
    if meter.period is Period.HELD or missing <= 0:
        return 1.0
    if meter.period is Period.MINUTE:
        return 60 * missing / max(1, meter.limit)
    return max(1.0, period_end(meter.period, max(now, account.at)) - max(now, account.at))


def _charged(account: Account, meter: Meter, replica: str, settled: int, acknowledged: int) -> Account:
    mine = account.holders.get(replica)
    counted = acknowledged if mine is None else mine.settled
    if meter.period is Period.HELD:
        return account
    return replace(account, spent=account.spent + max(0, settled - counted))
