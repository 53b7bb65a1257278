"""Knowing the engines before the first request, for a process that joins a mesh at work."""

from __future__ import annotations

import asyncio

from nats.errors import Error as NatsError
from nats.js.kv import KeyValue

from sage_common.errors import describe
from sage_common.logging import get_logger
from sage_mesh.directory import EngineDirectory
from sage_platform import registry

log = get_logger(__name__)

EXECUTORS = ("llm-coordinator", "embed-executor")
# Executors answer a hello at once; one that is registered and does not has died.
LONGEST_SECONDS = 1.0


async def hear_executors(directory: EngineDirectory, services: KeyValue) -> None:
    """Wait until every executor that is registered has been heard, a moment at most.

    Without that, who takes requests from its first moment refuses them for models that it has not heard of yet.

    Args:
        services: the bucket of the registered instances.
    """
    try:
        instances = await registry.list_instances(services)
    except (NatsError, asyncio.TimeoutError) as error:
        log.warning("the registered executors cannot be read; not waiting for them", error=describe(error))
        return
    wanted = [instance.instance_id for instance in instances if instance.service in EXECUTORS]

    def heard(current: EngineDirectory) -> bool:
        return all(current.heartbeat_age_seconds(executor) < float("inf") for executor in wanted)

    if not await directory.wait_until(heard, LONGEST_SECONDS):
        log.info("not every registered executor sends heartbeats", registered=wanted)
