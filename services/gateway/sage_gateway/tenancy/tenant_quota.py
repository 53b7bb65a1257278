"""One tenant's limits at this gateway: what it holds of them, and the exchange with what others hold."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from nats.errors import Error as NatsError

from sage_common.clock import Clock
from sage_common.errors import UnavailableError, describe
from sage_common.logging import get_logger
from sage_common.quota.account import Account, Holder, brought_forward, exchange, headroom
from sage_common.quota.holding import Holding
from sage_common.quota.meter import Meter, Period, Unit
from sage_gateway.tenancy.kept_limit import Amounts, KeptLimit, Reservation
from sage_gateway.tenancy.refusals import refusal
from sage_platform import subjects
from sage_platform.quota_pulse import QuotaPulse
from sage_platform.quota_records import Accounts, QuotaRecords

log = get_logger(__name__)

# How long a request waits for another gateway to give back what it holds without need.
IDLE_WAIT_SECONDS = 0.5
# How often a request asks again where others have taken what it was given.
MOST_TRIES = 5
# What was not used for so long is given back.
IDLE_SECONDS = 1.0


class TenantQuota:
    """Reserves for the requests of one tenant.

    Args:
        replica: id of this gateway.
        rates: records of what drains and comes back.
        budgets: records of what lasts.
        fail_open: whether requests pass, and are counted later, while the records cannot be reached.
    """

    def __init__(
        self,
        tenant: str,
        replica: str,
        rates: QuotaRecords,
        budgets: QuotaRecords,
        pulse: QuotaPulse,
        clock: Clock,
        *,
        fail_open: bool = False,
    ) -> None:
        self.key = subjects.token(tenant)
        self._tenant = tenant
        self._replica = replica
        self._rates = rates
        self._budgets = budgets
        self._pulse = pulse
        self._clock = clock
        self._fail_open = fail_open
        self._limits: dict[str, KeptLimit] = {}
        self._waiting: list[Amounts] = []
        self._exchanging: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._used_at = clock.now()

    def set_meters(self, meters: Iterable[Meter]) -> None:
        """Go by other limits; what is held of those that stay, stays."""
        limits = {}
        for meter in meters:
            known = self._limits.get(meter.name)
            if known is not None and meter.limit < known.meter.limit:
                # What was taken of the old limit may be more than there is of the new one.
                known.holding.lost()
            records = self._budgets if meter.is_budget else self._rates
            limits[meter.name] = KeptLimit(meter, known.holding if known else Holding(), records)
        self._limits = limits

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held, reserved or unreported."""
        return all(limit.holding.is_idle for limit in self._limits.values())

    def totals(self) -> dict[str, int]:
        """Return everything that this gateway's requests have come to, by meter."""
        return {name: limit.holding.settled for name, limit in self._limits.items()}

    def reserve_now(self, amounts: Amounts) -> Reservation | None:
        """Reserve from what this gateway holds; None where that is not enough."""
        if not self._pulse.may_spend:
            return None
        parts: list[tuple[Holding, Unit, int]] = []
        for limit in self._limits.values():
            amount = amounts.get(limit.meter.unit, 0)
            if not limit.holding.reserve(amount):
                for holding, _, taken in parts:
                    holding.settle(taken, 0)
                return None
            parts.append((limit.holding, limit.meter.unit, amount))
        self._used_at = self._clock.now()
        return Reservation(tuple(parts))

    async def reserve(self, amounts: Amounts) -> Reservation:
        """Reserve, and ask for more of the limits where this gateway holds too little.

        Raises:
            ContendedError: a limit is reached; it says which, and when to try again.
            UnavailableError: the records cannot be reached.
        """
        reservation = self.reserve_now(amounts)
        if reservation is not None:
            return reservation
        try:
            return await self._reserve_elsewhere(amounts)
        except (NatsError, asyncio.TimeoutError) as error:
            if self._fail_open:
                return self._force(amounts)
            raise UnavailableError(
                f"the limits of tenant {self._tenant!r} cannot be kept ({describe(error)}); try again, and look at the "
                "NATS server",
                code="limits_unreachable",
                retry_after_seconds=1,
            ) from None

    async def _reserve_elsewhere(self, amounts: Amounts) -> Reservation:
        deadline = self._clock.now() + IDLE_WAIT_SECONDS
        tries = 0
        self._waiting.append(amounts)
        try:
            while True:
                if not self._pulse.may_spend:
                    raise asyncio.TimeoutError("this gateway could not say in time that it is alive")
                if (limit := self._exhausted(amounts)) is not None:
                    raise self._refusal(limit, amounts)
                self._changed.clear()
                await asyncio.gather(*(self.exchange(records) for records in self._short_of(amounts)))
                reservation = self.reserve_now(amounts)
                if reservation is not None:
                    return reservation
                short = [limit for limit in self._limits.values() if self._lacks(limit, amounts)]
                left = deadline - self._clock.now()
                tries += 1
                if short and any(self._is_wanting(limit) for limit in short) and left > 0:
                    await self._until_changed(min(left, 0.1))
                elif short and (left <= 0 or tries >= MOST_TRIES):
                    raise self._refusal(short[0], amounts)
        finally:
            self._waiting.remove(amounts)

    async def exchange(self, records: QuotaRecords, *, spare: bool = True) -> None:
        """Report, take and give back, of the limits in one bucket; whoever comes meanwhile waits for the same.

        Raises NatsError or TimeoutError where nobody knows whether the record was written.
        """
        name = "budgets" if records is self._budgets else "rates"
        task = self._exchanging.get(name)
        if task is not None:
            # It may have been planned before the caller's need was known.
            await asyncio.wait([task])
            if (task := self._exchanging.get(name)) is not None:
                await asyncio.shield(task)
                return
        task = asyncio.create_task(self._exchange(records, spare=spare))
        self._exchanging[name] = task
        task.add_done_callback(lambda done: self._exchanged(name, done))
        await asyncio.shield(task)

    def give_back_soon(self) -> bool:
        """Whether something is held that was not used for a while."""
        return self._clock.now() - self._used_at > IDLE_SECONDS

    def is_wanted(self, records: QuotaRecords) -> bool:
        """Whether another gateway needs what this one holds without need."""
        accounts = records.latest(self.key)
        return any(
            limit.holding.available > 0
            and any(holder.wanted for name, holder in _holders(accounts, limit) if name != self._replica)
            for limit in self._limits.values()
            if limit.records is records
        )

    def is_unreported(self, records: QuotaRecords) -> bool:
        """Whether the record does not say what this gateway has reserved and spent."""
        accounts = records.latest(self.key)
        for limit in self._limits.values():
            if limit.records is not records:
                continue
            mine = dict(_holders(accounts, limit)).get(self._replica, Holder())
            is_stale = mine.held > 0 and limit.holding.is_idle
            if is_stale or mine.wanted or not limit.holding.is_settled or mine.reserved != limit.holding.reserved:
                return True
        return False

    def holds(self, records: QuotaRecords) -> bool:
        """Whether it holds anything beyond what is reserved."""
        return any(limit.holding.available > 0 for limit in self._limits.values() if limit.records is records)

    def on_record(self) -> None:
        """Take in that a record has changed."""
        self._changed.set()

    def lost(self) -> None:
        """Give up what is held: this gateway may count as dead by now."""
        for limit in self._limits.values():
            limit.holding.lost()

    def left(self, meter_name: str) -> tuple[int, int, float] | None:
        """Return a limit, what is left of it, and in how many seconds all of it is there again; None where there is no
        such limit."""
        limit = self._limits.get(meter_name)
        if limit is None:
            return None
        left = max(0, self._headroom(limit, self._pulse.server_now()))
        return limit.meter.limit, left, 60 * (limit.meter.limit - left) / max(1, limit.meter.limit)

    async def _exchange(self, records: QuotaRecords, *, spare: bool) -> None:
        limits = [limit for limit in self._limits.values() if limit.records is records]
        now = self._pulse.server_now()

        def edit(accounts: Accounts) -> Accounts:
            edited = dict(accounts)
            for limit in limits:
                need = sum(amounts.get(limit.meter.unit, 0) for amounts in self._waiting)
                claim = limit.holding.claim(need, spare=spare)
                account = exchange(
                    edited.get(limit.meter.name, Account(at=now)), limit.meter, self._replica, claim, now
                )
                limit.holding.planned(account.holders[self._replica])
                edited[limit.meter.name] = account
            return edited

        written = await records.change(self.key, edit)
        for limit in limits:
            limit.holding.written(written[limit.meter.name].holders[self._replica])

    def _exchanged(self, name: str, task: asyncio.Task[None]) -> None:
        if self._exchanging.get(name) is task:
            del self._exchanging[name]
        if not task.cancelled():
            # Whoever waits for it gets it too.
            task.exception()

    def _short_of(self, amounts: Amounts) -> list[QuotaRecords]:
        short = [limit.records for limit in self._limits.values() if self._lacks(limit, amounts)]
        return [records for records in (self._rates, self._budgets) if records in short]

    def _lacks(self, limit: KeptLimit, amounts: Amounts) -> bool:
        return amounts.get(limit.meter.unit, 0) > max(0, limit.holding.available)

    def _exhausted(self, amounts: Amounts) -> KeptLimit | None:
        """Return a limit of which not even what others hold without need would be enough, as far as is known here."""
        now = self._pulse.server_now()
        for limit in self._limits.values():
            if not self._lacks(limit, amounts):
                continue
            if amounts.get(limit.meter.unit, 0) > self._headroom(limit, now):
                return limit
        return None

    def _headroom(self, limit: KeptLimit, now: float) -> int:
        account = limit.records.latest(self.key).get(limit.meter.name) or Account(at=now)
        holding = limit.holding
        return headroom(account, limit.meter, self._replica, holding.reserved, holding.unreported, now)

    def _account(self, limit: KeptLimit, now: float) -> Account:
        """Return the account as it was last known, and what this gateway has reserved and spent since."""
        account = limit.records.latest(self.key).get(limit.meter.name) or Account(at=now)
        account = brought_forward(account, limit.meter, now)
        mine = Holder(reserved=limit.holding.reserved)
        spent = 0 if limit.meter.period is Period.HELD else limit.holding.unreported
        return replace(account, spent=account.spent + spent, holders={**account.holders, self._replica: mine})

    def _refusal(self, limit: KeptLimit, amounts: Amounts) -> Exception:
        now = self._pulse.server_now()
        return refusal(self._tenant, limit.meter, amounts.get(limit.meter.unit, 0), self._account(limit, now), now)

    def _is_wanting(self, limit: KeptLimit) -> bool:
        mine = limit.records.latest(self.key).get(limit.meter.name, Account()).holders.get(self._replica)
        return mine is not None and mine.wanted > 0

    async def _until_changed(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except asyncio.TimeoutError:
            return

    def _force(self, amounts: Amounts) -> Reservation:
        parts: list[tuple[Holding, Unit, int]] = []
        for limit in self._limits.values():
            amount = amounts.get(limit.meter.unit, 0)
            limit.holding.reserved += amount
            parts.append((limit.holding, limit.meter.unit, amount))
        return Reservation(tuple(parts))


def _holders(accounts: Accounts, limit: KeptLimit) -> Iterable[tuple[str, Holder]]:
    account = accounts.get(limit.meter.name)
    return () if account is None else account.holders.items()
