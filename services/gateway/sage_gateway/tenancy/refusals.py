"""What a tenant is told that has reached a limit."""

from __future__ import annotations

from sage_common.errors import ContendedError
from sage_common.prices import NANOS
from sage_common.quota.account import Account, seconds_until
from sage_common.quota.meter import Meter, Period, Unit

# As OpenAI's API says it, whose clients go by the code.
RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
INSUFFICIENT_QUOTA = "insufficient_quota"

_PERIODS = {Period.MINUTE: "a minute", Period.DAY: "today", Period.MONTH: "this month", Period.HELD: "at a time"}


def refusal(tenant: str, meter: Meter, amount: int, account: Account, now: float) -> ContendedError:
    """Return the error for a request that asks for more than is left of a limit."""
    used = max(0, round(account.spent))
    reserved = sum(holder.reserved for holder in account.holders.values())
    spent = f"{_shown(meter.unit, used)} spent"
    if reserved and meter.period is not Period.HELD:
        spent += f", {_shown(meter.unit, reserved)} reserved by requests that run"
    limit = f"{_shown(meter.unit, meter.limit)} {_PERIODS[meter.period]}"
    if amount > meter.limit and meter.period is not Period.HELD:
        return ContendedError(
            f"the request may come to {_shown(meter.unit, amount)}, and tenant {tenant!r} may have {limit} at most; "
            "ask for less, or have an operator raise the limit with `sage tenant set`",
            code=INSUFFICIENT_QUOTA if meter.is_budget else RATE_LIMIT_EXCEEDED,
            retry_after_seconds=seconds_until(account, meter, meter.limit, now),
        )
    if not meter.is_budget:
        what = f"tenant {tenant!r} may have {limit}"
        used_up = "" if meter.period is Period.HELD else f" ({spent})"
        seconds = max(1.0, seconds_until(account, meter, amount, now))
        return ContendedError(
            f"{what}{used_up}; try again in {seconds:.0f} s", code=RATE_LIMIT_EXCEEDED, retry_after_seconds=seconds
        )
    if amount <= meter.limit - account.spent:
        return ContendedError(
            f"the rest of the budget of tenant {tenant!r}, {limit}, is reserved by requests that run ({spent}); try "
            "again when they have ended",
            code=RATE_LIMIT_EXCEEDED,
            retry_after_seconds=1,
        )
    return ContendedError(
        f"the budget of tenant {tenant!r} is used up: {limit} ({spent}), and the request may come to "
        f"{_shown(meter.unit, amount)}; ask for less, wait, or have an operator raise it with `sage tenant set`",
        code=INSUFFICIENT_QUOTA,
        retry_after_seconds=seconds_until(account, meter, amount, now),
    )


def _shown(unit: Unit, amount: int) -> str:
    if unit is Unit.MONEY:
        return f"{amount / NANOS:.6g} of money"
    return f"{amount} {'requests' if unit is Unit.CONCURRENCY else unit.value}"
