"""Opening the knowledge bases of a mesh: through a gateway, or at the workers themselves."""

from __future__ import annotations

from sage_client.knowledge.knowledge_bases import KnowledgeBases
from sage_client.wait_notice import OnWait
from sage_client.worker_access import WorkerAccess, reach_workers


async def open_knowledge(
    target: str | None = None, *, api_key: str | None = None, tenant: str = "", on_wait: OnWait | None = None
) -> KnowledgeBases:
    """Connect. What is None comes from the settings' section ``client``.

    Args:
        target: ``http://host:8888`` for a gateway; ``nats://host:4222`` for the workers that its registry names, or
            ``grpc://host:50056`` for one worker.
        tenant: whose knowledge bases they are, for operators; empty for the caller's own.
        on_wait: called with which worker a call waits for, when that takes longer than two seconds.

    Raises:
        ConfigurationError: the target is none of these.
        UnavailableError: no NATS server answers. A gateway or worker that does not answer shows at the first call.
    """
    way = await reach_workers("dataflow-worker", target, api_key)
    # The ways pull in different libraries; each is imported when it is chosen.
    if isinstance(way, WorkerAccess):
        from sage_client.knowledge.grpc_knowledge import GrpcKnowledge

        return GrpcKnowledge(way.list_instances, way.token, tenant=tenant, on_wait=on_wait, closing=way.closing)
    from sage_client.knowledge.rest_knowledge import RestKnowledge

    return RestKnowledge(way, tenant=tenant)
