"""The limits of all tenants at this gateway: who reports when, and what the dead held comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from nats.errors import Error as NatsError
from nats.js.client import JetStreamContext

from sage_common.clock import Clock
from sage_common.errors import SageError, describe
from sage_common.logging import get_logger
from sage_common.quota.account import forget, lapse
from sage_common.quota.meter import Meter, Period, period_end
from sage_common.tasks import end_tasks
from sage_common.tenants import Tenant
from sage_gateway.tenancy.kept_limit import LimitState
from sage_gateway.tenancy.tenant_quota import TenantQuota
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.quota_pulse import QuotaPulse
from sage_platform.quota_records import Accounts, QuotaRecords

log = get_logger(__name__)

# How long what was spent and given back may go unreported.
REPORT_SECONDS = 0.25
REAP_SECONDS = 1.0
# A gateway that was taken for dead may come to again for so long without being counted twice.
FORGET_SECONDS = 3_600.0

# The last totals that a gateway has published of a tenant, by meter.
LastTotals = Callable[[str, str], Awaitable[Mapping[str, int]]]


class QuotaKeeper:
    """Keeps a :class:`TenantQuota` for each tenant that asks and has limits.

    Args:
        replica: id of this gateway.
        tenants: those that are kept, by name.
        last_totals: asked what a dead gateway had spent.
        fail_open: whether requests pass, and are counted later, while the records cannot be reached.
    """

    def __init__(
        self,
        js: JetStreamContext,
        replica: str,
        tenants: Callable[[], Mapping[str, Tenant]],
        last_totals: LastTotals,
        clock: Clock,
        *,
        fail_open: bool = False,
    ) -> None:
        self._replica = replica
        self._tenants = tenants
        self._last_totals = last_totals
        self._clock = clock
        self._fail_open = fail_open
        self.pulse = QuotaPulse(js, replica, clock)
        self._rates = QuotaRecords(js, subjects.BUCKET_RATES, clock)
        self._budgets = QuotaRecords(js, subjects.BUCKET_BUDGETS, clock)
        self._quotas: dict[str, TenantQuota] = {}
        self._by_key: dict[str, TenantQuota] = {}
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        for records in (self._rates, self._budgets):
            records.on_change(self._on_record)

    async def start(self) -> None:
        """Begin to follow and to report. Raises NatsError or TimeoutError, and may be called again then."""
        for records in (self._rates, self._budgets):
            await records.start()
        await self.pulse.start()
        self._tasks = [
            keep_running(self._report_forever, name="quota-reports"),
            keep_running(self._reap_forever, name="quota-lapses"),
        ]

    async def stop(self) -> None:
        """Report and give back everything, and stop."""
        await end_tasks(*self._tasks)
        try:
            await asyncio.gather(*(self._report(quota, spare=False) for quota in self._quotas.values()))
        except (SageError, NatsError, asyncio.TimeoutError) as error:
            log.warning("limits not given back; they lapse by themselves", error=describe(error))
        for records in (self._rates, self._budgets):
            await records.stop()
        await self.pulse.stop()

    def reconnected(self) -> None:
        """Follow the records again after a loss of the connection."""
        self.pulse.reconnected()
        self._rates.reconnected()
        self._budgets.reconnected()

    def quota(self, tenant: Tenant) -> TenantQuota:
        """Return a tenant's limits."""
        quota = self._quotas.get(tenant.name)
        if quota is None:
            quota = TenantQuota(
                tenant.name,
                self._replica,
                self._rates,
                self._budgets,
                self.pulse,
                self._clock,
                fail_open=self._fail_open,
            )
            quota.set_meters(tenant.meters)
            self._quotas[tenant.name] = self._by_key[quota.key] = quota
        return quota

    def states(self, tenant: Tenant) -> list[LimitState]:
        """Return what is left of each of a tenant's limits, as far as gateways have reported."""
        quota, now = self.quota(tenant), self.pulse.server_now()
        states = []
        for meter in tenant.meters:
            left = quota.left(meter.name)
            if left is None:
                continue
            seconds = left[2] if meter.period is Period.MINUTE else 0.0
            if meter.is_budget and left[1] < meter.limit:
                seconds = period_end(meter.period, now) - now
            states.append(LimitState(meter, left[1], seconds))
        return states

    def tenants_changed(self) -> None:
        """Go by the tenants as they are now."""
        tenants = self._tenants()
        for name, quota in self._quotas.items():
            tenant = tenants.get(name)
            quota.set_meters(() if tenant is None else tenant.meters)

    def _on_record(self, key: str) -> None:
        quota = self._by_key.get(key)
        if quota is None:
            return
        quota.on_record()
        if quota.is_wanted(self._rates) or quota.is_wanted(self._budgets):
            self._wanted.set()

    async def _report_forever(self) -> None:
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), REPORT_SECONDS)
            self._wanted.clear()
            if not self.pulse.may_spend:
                for quota in self._quotas.values():
                    quota.lost()
                continue
            outcomes = await asyncio.gather(
                *(self._report(quota) for quota in self._quotas.values()), return_exceptions=True
            )
            for outcome in outcomes:
                if isinstance(outcome, (SageError, NatsError, asyncio.TimeoutError)):
                    log.warning("what tenants spent could not be reported yet", error=describe(outcome))
                elif isinstance(outcome, Exception):
                    raise outcome

    async def _report(self, quota: TenantQuota, *, spare: bool = True) -> None:
        for records in (self._rates, self._budgets):
            idle = quota.holds(records) and (quota.give_back_soon() or not spare)
            if idle or quota.is_wanted(records):
                await quota.exchange(records, spare=False)
            elif quota.is_unreported(records):
                await quota.exchange(records, spare=spare)

    async def _reap_forever(self) -> None:
        while True:
            await asyncio.sleep(REAP_SECONDS)
            try:
                for tenant in list(self._tenants().values()):
                    for records in (self._rates, self._budgets):
                        await self._reap(tenant, records)
            except (SageError, NatsError, asyncio.TimeoutError) as error:
                log.warning("what a dead gateway held could not be taken back yet", error=describe(error))

    async def _reap(self, tenant: Tenant, records: QuotaRecords) -> None:
        """Take back what the dead hold of a tenant's limits."""
        key = subjects.token(tenant.name)
        accounts = records.latest(key)
        holders = {
            replica
            for account in accounts.values()
            for replica, holder in account.holders.items()
            if replica != self._replica and (holder.held or holder.wanted)
        }
        meters = {meter.name: meter for meter in tenant.meters}
        for replica in sorted(holders):
            if not self.pulse.seems_dead(replica) or not await self.pulse.is_dead(replica):
                continue
            totals = await self._last_totals(replica, tenant.name)
            log.info("what a dead gateway held comes back", tenant=tenant.name, gateway=replica)
            await records.change(key, lambda now, r=replica, t=totals: self._lapsed(now, meters, r, t))  # type: ignore[misc]
        for replica in self._forgotten(accounts):
            await records.change(
                key,
                lambda now, r=replica: {name: forget(account, r) for name, account in now.items()},  # type: ignore[misc]
            )
            self.pulse.forget(replica)

    def _forgotten(self, accounts: Accounts) -> set[str]:
        """Return gateways that ended long ago, whose totals nobody asks for any more."""
        named = {replica for account in accounts.values() for replica in account.holders} - {self._replica}
        return {
            replica
            for replica in named
            if self.pulse.silence_seconds(replica) > FORGET_SECONDS
            and not any(
                holder.held or holder.wanted
                for account in accounts.values()
                for name, holder in account.holders.items()
                if name == replica
            )
        }

    def _lapsed(
        self, accounts: Accounts, meters: Mapping[str, Meter], replica: str, totals: Mapping[str, int]
    ) -> Accounts:
        now = self.pulse.server_now()
        return {
            name: lapse(account, meters[name], replica, totals.get(name, 0), now)
            if name in meters and replica in account.holders
            else account
            for name, account in accounts.items()
        }
