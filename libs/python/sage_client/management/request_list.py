"""The latest requests of a mesh, as its schedulers know them."""

from __future__ import annotations

import asyncio

from grpc.aio import Channel

from sage.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from sage_client.management.service_calls import ServiceCalls
from sage_client.management.translation import request_view
from sage_client.management.views import RequestView

SCHEDULER = "scheduler"
CALL_SECONDS = 10.0
# Between two such parts the caller's other work goes on.
TRANSLATED_AT_ONCE = 200


class RequestList:
    """Lists requests. Pools move between schedulers, and each knows its own decisions only: all are asked."""

    def __init__(self, calls: ServiceCalls) -> None:
        self._calls = calls

    async def latest(
        self, *, tenant: str | None = None, changed_within_ms: int = 0, limit: int = 500
    ) -> list[RequestView]:
        """Return the latest requests that are remembered, the latest arrival first.

        Args:
            tenant: whose requests; None for everybody's.
            changed_within_ms: only those about which something was decided or reported within so many milliseconds; 0
                for all.
            limit: how many at most.

        Raises:
            UnavailableError: no scheduler answers.
        """
        query = scheduler_pb2.ListRequestsRequest(tenant=tenant or "", changed_within_ms=changed_within_ms, limit=limit)

        async def of_replica(channel: Channel) -> list[scheduler_pb2.RequestSummary]:
            stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)  # type: ignore[no-untyped-call]
            return [one async for answer in stub.ListRequests(query, timeout=CALL_SECONDS) for one in answer.requests]

        found: dict[str, scheduler_pb2.RequestSummary] = {}
        for summaries in await self._calls.every(SCHEDULER, of_replica):
            for summary in summaries:
                other = found.get(summary.request_id)
                if other is None or summary.decided_ms_ago < other.decided_ms_ago:
                    found[summary.request_id] = summary
        latest = sorted(found.values(), key=lambda summary: summary.age_ms)[:limit]
        views: list[RequestView] = []
        for start in range(0, len(latest), TRANSLATED_AT_ONCE):
            views += [request_view(summary) for summary in latest[start : start + TRANSLATED_AT_ONCE]]
            await asyncio.sleep(0)
        return views
