"""The way of a request past its tenant's limits into the mesh, and what it came to out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sage_common.errors import PermissionDeniedError, SageError, UnavailableError, UnprocessableError
from sage_common.logging import get_logger
from sage_common.prices import Price, price_of
from sage_common.quota.meter import Period, Unit
from sage_common.tenants import Tenant
from sage_common.usage import UsageEvent
from sage_control_plane.request.body import RequestBody, read_body
from sage_control_plane.request.catalog import KIND_OF_ENDPOINT
from sage_control_plane.request.features import DEFAULT_BLOCK_BYTES, FeatureExtractor
from sage_control_plane.request.request import Endpoint, RequestKind
from sage_gateway.asgi import Headers
from sage_gateway.tenancy.kept_limit import Amounts, Reservation
from sage_gateway.tenancy.quota_keeper import QuotaKeeper
from sage_gateway.tenancy.tenant_quota import TenantQuota
from sage_gateway.tenancy.usage_journal import UsageJournal
from sage_mesh.directory import EngineDirectory
from sage_mesh.edge.edge import Edge
from sage_mesh.inference_request import DEFAULT_TENANT, InferenceRequest
from sage_mesh.reply import Reply, TokenUsage
from sage_platform.record_store import RecordStore

log = get_logger(__name__)

_GENERATING = (RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE)


@dataclass(frozen=True, slots=True)
class _Admission:
    """A request that was let in.

    Attributes:
        model: what it asks for; empty where nobody had to know.
        quota: None where its tenant has no limits.
        prompt_tokens: the estimate.
    """

    tenant: str
    key_id: str
    model: str = ""
    quota: TenantQuota | None = None
    reservation: Reservation | None = None
    prompt_tokens: int = 0


class TenantGate:
    """Holds requests to the limits of their tenants, and keeps account of what they came to.

    Of a tenant that is not kept, nothing is read, estimated or waited for.

    Args:
        assumed_output_tokens: reserved for an answer whose request sets no limit.
        on_usage: told of every event, for metrics.
        fail_open: whether requests pass while nobody knows their tenants' limits.
    """

    def __init__(
        self,
        edge: Edge,
        directory: EngineDirectory,
        extract_features: FeatureExtractor,
        tenants: RecordStore[Tenant],
        prices: RecordStore[Price],
        keeper: QuotaKeeper,
        journal: UsageJournal,
        on_usage: Callable[[UsageEvent], None],
        *,
        assumed_output_tokens: int,
        fail_open: bool = False,
    ) -> None:
        self._edge = edge
        self._directory = directory
        self._extract = extract_features
        self._tenants = tenants
        self._prices = prices
        self._keeper = keeper
        self._journal = journal
        self._on_usage = on_usage
        self._assumed_output_tokens = assumed_output_tokens
        self._fail_open = fail_open

    async def submit(self, request: InferenceRequest) -> Reply:
        """Submit a request.

        Raises:
            ContendedError: a limit of its tenant is reached.
            PermissionDeniedError: the model is none of the tenant's.
            UnprocessableError: the tenant has a budget in money, and the model no price.
            UnavailableError: the limits cannot be kept now.
            SageError: what the edge refuses.
        """
        name = request.tenant or DEFAULT_TENANT
        tenant = self._tenants.records.get(name)
        if tenant is not None:
            admission = await self._admit(tenant, request)
        elif self._tenants.is_read or self._fail_open:
            admission = _Admission(name, request.key_id)
        else:
            raise UnavailableError(
                "the tenants of the mesh could not be read from NATS yet; try again, and look at the NATS server",
                code="tenants_unread",
                retryable=True,
            )
        try:
            reply = self._edge.submit(request)
        except SageError:
            if admission.reservation is not None:
                admission.reservation.settle({})
            raise
        reply.on_end = lambda ended, error: self._ended_safely(admission, ended, error)
        return reply

    def headers(self, tenant: str) -> Headers:
        """Return ``x-ratelimit-*`` of a tenant with rates."""
        kept = self._tenants.records.get(tenant)
        if kept is None or (kept.requests_per_minute is None and kept.tokens_per_minute is None):
            return []
        quota = self._keeper.quota(kept)
        headers: Headers = []
        for unit in (Unit.REQUESTS, Unit.TOKENS):
            left = quota.left(unit, Period.MINUTE)
            if left is not None:
                name = unit.value.encode()
                headers += [
                    (b"x-ratelimit-limit-" + name, b"%d" % left[0]),
                    (b"x-ratelimit-remaining-" + name, b"%d" % left[1]),
                    (b"x-ratelimit-reset-" + name, b"%.3fs" % left[2]),
                ]
        return headers

    async def _admit(self, tenant: Tenant, request: InferenceRequest) -> _Admission:
        body = read_body(request.endpoint, request.body)
        model = self._directory.catalog.resolve(body.model, request.endpoint).card.name
        if not tenant.may_use(model):
            raise PermissionDeniedError(
                f"tenant {tenant.name!r} may not use model {model!r}, only {', '.join(tenant.models)}; name one of "
                "those, or have an operator add it with `sage tenant set --model`",
                code="model_not_allowed",
                param="model",
            )
        if not tenant.meters:
            return _Admission(tenant.name, request.key_id, model)
        prompt_tokens = max(1, self._extract(body.segments, DEFAULT_BLOCK_BYTES)[0] + body.given_tokens)
        amounts = self._estimate(tenant, model, request.endpoint, body, prompt_tokens)
        quota = self._keeper.quota(tenant)
        reservation = quota.reserve_now(amounts) or await quota.reserve(amounts)
        return _Admission(tenant.name, request.key_id, model, quota, reservation, prompt_tokens)

    def _estimate(
        self, tenant: Tenant, model: str, endpoint: Endpoint, body: RequestBody, prompt_tokens: int
    ) -> Amounts:
        output_tokens = 0
        if KIND_OF_ENDPOINT[endpoint] in _GENERATING:
            most = self._assumed_output_tokens if body.max_tokens is None else body.max_tokens
            output_tokens = most * body.choices * body.items
        price = price_of(self._prices.records, model)
        if price is None and (tenant.daily_money is not None or tenant.monthly_money is not None):
            raise UnprocessableError(
                f"tenant {tenant.name!r} has a budget in money, and model {model!r} has no price; an operator sets one "
                f"with `sage price set {model}`",
                code="model_without_price",
                param="model",
            )
        return {
            Unit.CONCURRENCY: 1,
            Unit.REQUESTS: 1,
            Unit.TOKENS: prompt_tokens + output_tokens,
            Unit.MONEY: 0 if price is None else price.nanos(prompt_tokens, 0, output_tokens),
        }

    def _ended_safely(
        self, admission: _Admission, reply: Reply, error: SageError | None
    ) -> asyncio.Future[None] | None:
        """Nothing that goes wrong here may keep the edge from its other requests."""
        try:
            return self._ended(admission, reply, error)
        except Exception:
            ids = {"request_id": reply.request_id, "correlation_id": reply.correlation_id}
            log.exception("a request was not accounted for", tenant=admission.tenant, **ids)
            return None

    def _ended(self, admission: _Admission, reply: Reply, error: SageError | None) -> asyncio.Future[None] | None:
        """Settle a request by what was delivered, and say so; the end of its answer waits for that."""
        usage = _usage_of(admission, reply, error)
        model = admission.model or ("" if reply.begun_head is None else reply.begun_head.model)
        price = price_of(self._prices.records, model) if model else None
        nanos = 0
        if price is not None:
            nanos = price.nanos(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
        totals: Mapping[str, int] | None = None
        if admission.quota is not None and admission.reservation is not None:
            tokens = usage.prompt_tokens + usage.completion_tokens
            admission.reservation.settle({Unit.REQUESTS: 1, Unit.TOKENS: tokens, Unit.MONEY: nanos})
            totals = admission.quota.totals()
        event = UsageEvent(
            at=self._keeper.pulse.server_now(),
            request_id=reply.request_id,
            tenant=admission.tenant,
            key_id=admission.key_id,
            model=model,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            nanos=nanos,
            status="ok" if error is None else error.code,
        )
        self._on_usage(event)
        return self._journal.add(event, totals)


def _usage_of(admission: _Admission, reply: Reply, error: SageError | None) -> TokenUsage:
    """Return what the engine counted; else what was estimated of the prompt, once it was computed, and delivered."""
    usage = reply.usage
    if usage.prompt_tokens or (error is not None and reply.begun_head is None):
        return usage
    return TokenUsage(admission.prompt_tokens, usage.completion_tokens)
