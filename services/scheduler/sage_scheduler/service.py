"""gRPC ↔ domain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, replace

from grpc import aio

from sage.inference.v1 import frame_pb2
from sage.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from sage_common.errors import NotFoundError
from sage_common.labels import check_label
from sage_common.name_list import shown_names
from sage_control_plane.policies.registry import PolicySettings, check_policy, policy_names
from sage_control_plane.request.engine_state import DEFAULT_POOL
from sage_mesh.edge.edge import Edge
from sage_mesh.inference_request import check_correlation_id
from sage_mesh.reply import Reply
from sage_mesh.wire.frames import end_to_wire, head_to_wire
from sage_mesh.wire.requests import inference_request_from_wire
from sage_platform.grpc_access import current_caller, for_operators
from sage_scheduler.control_board import ControlBoard
from sage_scheduler.explanation_exchange import ExplanationExchange
from sage_scheduler.explanations import Explanations
from sage_scheduler.inspection import Inspection
from sage_scheduler.policy_orders import PolicyChoice, number_settings, settings_of


class SchedulerServicer(scheduler_pb2_grpc.SchedulerServiceServicer):
    """The gRPC API. Orders go to the board, which reaches every leader; requests go through the ring."""

    def __init__(
        self,
        edge: Edge,
        inspection: Inspection,
        board: ControlBoard,
        exchange: ExplanationExchange,
        explanations: Explanations,
        policies: PolicySettings,
        timeout_seconds: float,
    ) -> None:
        self._edge = edge
        self._inspection = inspection
        self._board = board
        self._exchange = exchange
        self._explanations = explanations
        self._policies = policies
        self._timeout_seconds = timeout_seconds

    async def Submit(  # noqa: N802 - the name in the contract
        self, request: scheduler_pb2.SubmitRequest, context: aio.ServicerContext
    ) -> AsyncIterator[scheduler_pb2.SubmitResponse]:
        inference = inference_request_from_wire(request.request, timeout_seconds=self._timeout_seconds)
        tenant = current_caller().acts_for(check_label(inference.tenant or "", "tenant") or None)
        reply = self._edge.submit(replace(inference, tenant=tenant))
        try:
            async for frame in _frames(reply):
                yield scheduler_pb2.SubmitResponse(frame=frame)
        finally:
            reply.cancel("the caller went away")

    async def GetStatus(  # noqa: N802
        self, request: scheduler_pb2.GetStatusRequest, context: aio.ServicerContext
    ) -> scheduler_pb2.GetStatusResponse:
        return self._inspection.status()

    async def ListEngines(  # noqa: N802
        self, request: scheduler_pb2.ListEnginesRequest, context: aio.ServicerContext
    ) -> scheduler_pb2.ListEnginesResponse:
        return scheduler_pb2.ListEnginesResponse(engines=self._inspection.engines())

    @for_operators
    async def DrainEngine(  # noqa: N802
        self, request: scheduler_pb2.DrainEngineRequest, context: aio.ServicerContext
    ) -> scheduler_pb2.DrainEngineResponse:
        engine_id = request.engine_id
        if self._inspection.engine(engine_id) is None:
            known = shown_names(entry.state.spec.engine_id for entry in self._inspection.engines()) or "none"
            raise NotFoundError(
                f"no engine has the id {engine_id!r}; known: {known}", code="engine_not_found", param="engine_id"
            )
        await self._board.set_drain(engine_id, not request.undo)
        return scheduler_pb2.DrainEngineResponse(engine=self._inspection.engine(engine_id))

    async def GetPolicy(  # noqa: N802
        self, request: scheduler_pb2.GetPolicyRequest, context: aio.ServicerContext
    ) -> scheduler_pb2.GetPolicyResponse:
        pool = self._known_pool(request.pool or DEFAULT_POOL)
        order = self._board.policy(pool)
        settings = [scheduler_pb2.PolicySetting(**asdict(one)) for one in number_settings(order, self._policies)]
        return scheduler_pb2.GetPolicyResponse(policy=order.policy, available=policy_names(), settings=settings)

    @for_operators
    async def SetPolicy(  # noqa: N802
        self, request: scheduler_pb2.SetPolicyRequest, context: aio.ServicerContext
    ) -> scheduler_pb2.SetPolicyResponse:
        order = PolicyChoice(check_policy(request.policy), dict(request.settings))
        settings_of(order, self._policies)
        pool = self._known_pool(request.pool) if request.pool else None
        previous = self._board.policy(pool or DEFAULT_POOL).policy
        await self._board.set_policy(pool, order)
        return scheduler_pb2.SetPolicyResponse(
            previous=previous, policy=self._board.policy(pool or DEFAULT_POOL).policy
        )

    async def Explain(  # noqa: N802
        self, request: scheduler_pb2.ExplainRequest, context: aio.ServicerContext
    ) -> scheduler_pb2.ExplainResponse:
        check_correlation_id(request.request_id)
        caller = current_caller()
        tenant = request.tenant if caller.operator else caller.acts_for(request.tenant)
        query = scheduler_pb2.ExplainRequest(request_id=request.request_id, tenant=tenant)
        # A tenant does not learn whether another has such a request.
        explanations = [one for one in await self._exchange.explain(query) if caller.may_see(one.tenant)]
        if not explanations:
            raise NotFoundError(
                f"no scheduler remembers a request {request.request_id!r}: it never got to one (its own error says "
                "why), too many have come since, or the scheduler that decided about it has ended; the id is in the "
                "x-request-id header of the reply",
                code="request_not_found",
                param="request_id",
            )
        return scheduler_pb2.ExplainResponse(explanations=explanations)

    async def ListRequests(  # noqa: N802
        self, request: scheduler_pb2.ListRequestsRequest, context: aio.ServicerContext
    ) -> AsyncIterator[scheduler_pb2.ListRequestsResponse]:
        caller = current_caller()
        tenant = request.tenant if caller.operator else caller.acts_for(request.tenant or None)
        query = scheduler_pb2.ListRequestsRequest(
            tenant=tenant, changed_within_ms=request.changed_within_ms, limit=request.limit
        )
        async for response in self._explanations.latest(query):
            yield response

    def _known_pool(self, pool: str) -> str:
        pools = [status.pool for status in self._inspection.status().pools]
        if pool not in pools:
            raise NotFoundError(
                f"no pool is called {pool!r}; known: {shown_names(pools)}", code="pool_not_found", param="pool"
            )
        return pool


async def _frames(reply: Reply) -> AsyncIterator[frame_pb2.Frame]:
    """Yield the reply as numbered frames. An error of the reply is raised and becomes the call's status."""
    request_id = reply.caller_id
    sequence = 0
    yield frame_pb2.Frame(request_id=request_id, seq=sequence, head=head_to_wire(await reply.head()))
    async for data in reply:
        sequence += 1
        yield frame_pb2.Frame(request_id=request_id, seq=sequence, data=data)
    yield frame_pb2.Frame(request_id=request_id, seq=sequence + 1, end=end_to_wire(reply.usage))
