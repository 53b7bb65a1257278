"""The way of a request past its tenant's limits into the mesh, and what it came to out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from sage_common.errors import ContendedError, PermissionDeniedError, SageError, UnavailableError, UnprocessableError
from sage_common.logging import get_logger
from sage_common.prices import Price, price_of
from sage_common.quota.meter import Meter, Period, Unit
from sage_common.tenants import Tenant
from sage_common.usage import UsageEvent
from sage_common.value_type import value_type
from sage_control_plane.request.body import RequestBody, read_body
from sage_control_plane.request.catalog import KIND_OF_ENDPOINT
from sage_control_plane.request.features import DEFAULT_BLOCK_BYTES, FeatureExtractor
from sage_control_plane.request.request import Endpoint, RequestKind
from sage_gateway.asgi import Headers
from sage_gateway.model_routing.model_router import ModelRouter
from sage_gateway.model_routing.routed_request import RoutedRequest
from sage_gateway.tenancy.answer_lengths import AnswerLengths, with_most_tokens
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


def _rate(unit: Unit) -> tuple[str, bytes, bytes, bytes]:
    """Return a rate's meter, and the headers that tell its limit, what is left of it, and when all of it is there."""
    limit, remaining, reset = (f"x-ratelimit-{what}-{unit.value}".encode() for what in ("limit", "remaining", "reset"))
    return Meter(unit, Period.MINUTE, 0).name, limit, remaining, reset


_RATES = (_rate(Unit.REQUESTS), _rate(Unit.TOKENS))


@value_type
class _Admission:
    """A request that was let in.

    Attributes:
        model: what it asks for; empty where nobody had to know.
        routed: the request, where it names a model route.
        quota: None where its tenant has no limits.
        prompt_tokens: the estimate.
        answers: how many there will be, none of which its caller has set a limit for; 0 otherwise.
    """

    tenant: str
    key_id: str
    model: str = ""
    routed: RoutedRequest | None = None
    quota: TenantQuota | None = None
    reservation: Reservation | None = None
    prompt_tokens: int = 0
    answers: int = 0


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
        router: ModelRouter,
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
        self._router = router
        self._on_usage = on_usage
        self._assumed_output_tokens = assumed_output_tokens
        self._lengths = AnswerLengths()
        self._fail_open = fail_open

    async def submit(self, request: InferenceRequest) -> Reply:
        """Submit a request.

        Raises:
            ContendedError: a limit of its tenant is reached.
            PermissionDeniedError: the model is none of the tenant's.
            UnprocessableError: the tenant has a budget in money, and the model no price.
            UnavailableError: the limits cannot be kept now, or the model routes are not known yet.
            SageError: what the edge refuses.
        """
        name = request.tenant or DEFAULT_TENANT
        routed = self._router.routed(request)
        tenant = self._tenants.records.get(name)
        if tenant is not None:
            admission, request = await self._admit(tenant, request, routed)
        elif self._tenants.is_read or self._fail_open:
            admission = _Admission(name, request.key_id, routed=routed)
        else:
            raise UnavailableError(
                "the tenants of the mesh could not be read from NATS yet; try again, and look at the NATS server",
                code="tenants_unread",
                retryable=True,
            )
        try:
            reply = self._edge.submit(request) if routed is None else routed.submit()
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
        for meter_name, limit, remaining, reset in _RATES:
            left = quota.left(meter_name)
            if left is not None:
                headers += [(limit, b"%d" % left[0]), (remaining, b"%d" % left[1]), (reset, b"%.3fs" % left[2])]
        return headers

    async def _admit(
        self, tenant: Tenant, request: InferenceRequest, routed: RoutedRequest | None
    ) -> tuple[_Admission, InferenceRequest]:
        """Return the admission, and the request as it is let in."""
        body = read_body(request.endpoint, request.body)
        if routed is None:
            model = self._directory.catalog.resolve(body.model, request.endpoint).card.name
        else:
            # Whoever may use a name may use what operators put behind it.
            model = routed.plan.name
        if not tenant.may_use(model):
            raise PermissionDeniedError(
                f"tenant {tenant.name!r} may not use model {model!r}, only {', '.join(tenant.models)}; name one of "
                "those, or have an operator add it with `sage tenant set --model`",
                code="model_not_allowed",
                param="model",
            )
        if not tenant.meters:
            return _Admission(tenant.name, request.key_id, model, routed), request
        prompt_tokens = max(1, self._extract(body.segments, DEFAULT_BLOCK_BYTES)[0] + body.given_tokens)
        # One reservation for whichever model answers: the dearest of them.
        asked = [(model, None)] if routed is None else routed.most_tokens_by_model()
        each = [self._estimate(tenant, name, request.endpoint, body, prompt_tokens, most) for name, most in asked]
        amounts: Amounts = {unit: max(amounts[unit] for amounts in each) for unit in each[0]}
        quota = self._keeper.quota(tenant)
        unlimited = routed is None and body.max_tokens is None and KIND_OF_ENDPOINT[request.endpoint] in _GENERATING
        try:
            reservation = quota.reserve_now(amounts) or await quota.reserve(amounts)
        except ContendedError:
            # What it may come to at most is not left; what such answers come to may be.
            most = self._lengths.usual(tenant.name, model, self._assumed_output_tokens) if unlimited else None
            limited = None if most is None else with_most_tokens(request.body, most)
            if limited is None:
                raise
            amounts = self._estimate(tenant, model, request.endpoint, body, prompt_tokens, most)
            reservation = await quota.reserve(amounts)
            request = replace(request, body=limited)
        answers = body.choices * body.items if unlimited else 0
        admission = _Admission(
            tenant.name, request.key_id, model, routed, quota, reservation, prompt_tokens, answers=answers
        )
        return admission, request

    def _estimate(
        self,
        tenant: Tenant,
        model: str,
        endpoint: Endpoint,
        body: RequestBody,
        prompt_tokens: int,
        default_max_tokens: int | None,
    ) -> Amounts:
        output_tokens = 0
        if KIND_OF_ENDPOINT[endpoint] in _GENERATING:
            most = body.max_tokens
            if most is None:
                most = self._assumed_output_tokens if default_max_tokens is None else default_max_tokens
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
        model = _model_of(admission, reply)
        if admission.answers and error is None:
            self._lengths.add(admission.tenant, admission.model, usage.completion_tokens // admission.answers)
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
            route="" if admission.routed is None else admission.routed.plan.name,
        )
        self._on_usage(event)
        return self._journal.add(event, totals)


def _model_of(admission: _Admission, reply: Reply) -> str:
    """Return the model that has answered, or that was tried last; empty where neither is known."""
    begun = "" if reply.begun_head is None else reply.begun_head.model
    if admission.routed is not None:
        return begun or admission.routed.model
    return admission.model or begun


def _usage_of(admission: _Admission, reply: Reply, error: SageError | None) -> TokenUsage:
    """Return what the engine counted; else what was estimated of the prompt, once it was computed, and delivered."""
    usage = reply.usage
    if usage.prompt_tokens or (error is not None and reply.begun_head is None):
        return usage
    return TokenUsage(admission.prompt_tokens, usage.completion_tokens)
