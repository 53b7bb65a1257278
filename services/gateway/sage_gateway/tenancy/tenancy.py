"""Where the objects meet that keep tenants at a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.errors import Error as NatsError

from sage_client.edge_factory import OpenEdge
from sage_common.clock import Clock
from sage_common.errors import describe
from sage_common.logging import get_logger
from sage_common.prices import Price
from sage_common.tasks import end_tasks
from sage_common.tenants import Tenant
from sage_common.usage import UsageEvent
from sage_gateway.model_routing.model_router import ModelRouter
from sage_gateway.tenancy.quota_keeper import QuotaKeeper
from sage_gateway.tenancy.tenant_gate import TenantGate
from sage_gateway.tenancy.usage_journal import UsageJournal
from sage_gateway.tenancy.usage_sums import UsageSums
from sage_mesh.class_ceilings import class_ceilings
from sage_middleware.features import load_feature_extractor
from sage_platform import leases, subjects
from sage_platform.kv import open_bucket
from sage_platform.leases import Leadership
from sage_platform.operator_records import price_records, tenant_records
from sage_platform.record_store import RecordStore

log = get_logger(__name__)

# How long a gateway's start waits for JetStream's files; they are waited for behind it then.
FIRST_START_SECONDS = 5.0
AGAIN_SECONDS = 1.0
# Of the gateways that sum usage.
LEASE = "usage-sums"


class Tenancy:
    """Everything about tenants at one gateway.

    Attributes:
        gate: lets their requests in.
        tenants: those that are kept.
        prices: of models.
        keeper: of their limits.
        sums: of usage.
    """

    def __init__(
        self,
        gate: TenantGate,
        tenants: RecordStore[Tenant],
        prices: RecordStore[Price],
        keeper: QuotaKeeper,
        journal: UsageJournal,
        sums: UsageSums,
        leadership: Leadership,
        starting: asyncio.Task[None],
    ) -> None:
        self.gate = gate
        self.tenants = tenants
        self.prices = prices
        self.sums = sums
        self.keeper = keeper
        self._journal = journal
        self._leadership = leadership
        self._starting = starting

    def reconnected(self) -> None:
        """Follow everything again after a loss of the connection."""
        self.tenants.reconnected()
        self.prices.reconnected()
        self.keeper.reconnected()

    async def stop(self) -> None:
        """Publish what is left, give back what is held, and stop. After the last request has ended."""
        await end_tasks(self._starting)
        await self._journal.stop()
        await self.keeper.stop()
        await self.sums.stop()
        await self._leadership.stop()
        await self.tenants.stop()
        await self.prices.stop()


async def open_tenancy(
    connection: Client,
    replica: str,
    edge: OpenEdge,
    router: ModelRouter,
    on_usage: Callable[[UsageEvent], None],
    clock: Clock,
    *,
    assumed_output_tokens: int = 512,
    fail_open: bool = False,
) -> Tenancy:
    """Start to keep tenants.

    Args:
        replica: id of this gateway, which no other has had.
        router: resolves the models that requests name.
        on_usage: told of every request that has ended.
        assumed_output_tokens: reserved for an answer whose request sets no limit.
        fail_open: whether requests pass, and are counted later, while NATS is away.
    """
    js = connection.jetstream()
    tenants, prices = tenant_records(js), price_records(js)
    journal = UsageJournal(connection, replica)
    keeper = QuotaKeeper(js, replica, lambda: tenants.records, journal.last_totals, clock, fail_open=fail_open)
    bucket = await open_bucket(js, subjects.BUCKET_LEASES, ttl_seconds=leases.TTL_SECONDS)
    leadership = Leadership(bucket, LEASE, replica, clock=clock, on_gained=lambda _epoch: None, on_lost=lambda: None)
    sums = UsageSums(js, lambda: leadership.may_act)
    tenants.on_change(keeper.tenants_changed)
    tenants.on_change(lambda: edge.classifier.set_class_ceilings(class_ceilings(tenants.records.values())))
    starting = asyncio.create_task(_start_until_done(journal.start, keeper.start, sums.start), name="tenancy")
    await asyncio.gather(tenants.start(), prices.start(), asyncio.wait({starting}, timeout=FIRST_START_SECONDS))
    leadership.start()
    gate = TenantGate(
        edge.edge,
        edge.directory,
        load_feature_extractor()[0],
        tenants,
        prices,
        keeper,
        journal,
        router,
        on_usage,
        assumed_output_tokens=assumed_output_tokens,
        fail_open=fail_open,
    )
    return Tenancy(gate, tenants, prices, keeper, journal, sums, leadership, starting)


async def _start_until_done(*starts: Callable[[], Awaitable[None]]) -> None:
    """Start what needs JetStream's files. While they cannot be written, all but tenants with limits are served."""
    for start in starts:
        while True:
            try:
                await start()
                break
            except (NatsError, asyncio.TimeoutError) as error:
                log.warning("limits and usage cannot be kept yet; trying again", error=describe(error))
                await asyncio.sleep(AGAIN_SECONDS)
