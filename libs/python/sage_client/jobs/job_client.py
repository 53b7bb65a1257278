"""Opening jobs: through a gateway, or at the workers themselves."""

from __future__ import annotations

from sage_client.jobs.jobs import Jobs
from sage_client.wait_notice import OnWait
from sage_client.worker_access import WorkerAccess, reach_workers


async def open_jobs(target: str | None = None, *, api_key: str | None = None, on_wait: OnWait | None = None) -> Jobs:
    """Connect. What is None comes from the settings' section ``client``.

    Args:
        target: ``http://host:8888`` for a gateway; ``nats://host:4222`` for the workers that its registry names, or
            ``grpc://host:50056`` for one worker.
        on_wait: called with which worker a call waits for, when that takes longer than two seconds.

    Raises:
        ConfigurationError: the target is none of these.
        UnavailableError: no NATS server answers. A gateway or worker that does not answer shows at the first call.
    """
    way = await reach_workers("dataflow-worker", target, api_key)
    # The ways pull in different libraries; each is imported when it is chosen.
    if isinstance(way, WorkerAccess):
        from sage_client.jobs.grpc_jobs import GrpcJobs

        return GrpcJobs(way.list_instances, way.token, on_wait, way.closing)
    from sage_client.jobs.rest_jobs import RestJobs

    return RestJobs(way)
