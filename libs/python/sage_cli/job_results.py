"""Reading what a job has produced from the stream of results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError as NoStream

from sage_cli.mesh.inspection import nats_settings
from sage_cli.mesh.running_supervisor import local_state
from sage_cli.target import say_registry
from sage_common.errors import NotFoundError
from sage_platform import subjects
from sage_platform.nats_connection import connect

FETCH_MESSAGES = 64
# The server answers at once; only what is not there is waited for.
FETCH_SECONDS = 1.0


@dataclass
class JobResults:
    """The results of a job, as far as they are there.

    Attributes:
        collections: records by collection, in order.
        complete: whether the job has ended.
        failed_records: how many records a node could not process.
    """

    job_id: str
    collections: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    complete: bool = False
    failed_records: int = 0
    skipped: list[Any] = field(default_factory=list)
    warnings: list[Any] = field(default_factory=list)

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each record with the name of its collection."""
        for name, records in self.collections.items():
            for record in records:
                yield name, record

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return vars(self)

    def take(self, body: dict[str, Any], collection: str, limit: int) -> None:
        """Take one message in."""
        if body.get("end"):
            self.complete = True
            self.failed_records = body["failed_records"]
            self.skipped, self.warnings = body["skipped"], body["warnings"]
        elif (not collection or body["collection"] == collection) and not (limit and body["first"] >= limit):
            kept = self.collections.setdefault(body["collection"], [])
            kept += body["records"]
            if limit:
                del kept[limit:]


async def read_results(job_id: str, collection: str = "", limit: int = 0) -> JobResults:
    """Return the results of a job that NATS still keeps.

    Args:
        collection: only this one; empty for all.
        limit: most records of each; 0 for all.

    Raises:
        NotFoundError: the job has no results, or not that collection.
        UnavailableError: NATS does not answer.
    """
    if not job_id.strip():
        raise _nothing(job_id)
    state = local_state()
    settings = nats_settings(state)
    say_registry(settings.url, runs_here=state is not None)
    connection = await connect(settings, name="sage-job")
    found = JobResults(job_id)
    try:
        js = connection.jetstream()
        try:
            config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
            reader = await js.pull_subscribe(subjects.results(job_id), stream=subjects.RESULTS_STREAM, config=config)
        except NoStream:
            raise _nothing(job_id) from None
        waiting = (await reader.consumer_info()).num_pending
        taken = 0
        while taken < (waiting or 0):
            try:
                messages = await reader.fetch(min(FETCH_MESSAGES, (waiting or 0) - taken), timeout=FETCH_SECONDS)
            except NatsTimeout:
                break
            taken += len(messages)
            for message in messages:
                found.take(orjson.loads(message.data), collection, limit)
        await reader.unsubscribe()
    finally:
        await connection.close()
    if not taken:
        raise _nothing(job_id)
    if collection and found.complete and collection not in found.collections:
        raise NotFoundError(f"the job {job_id!r} has no collection {collection!r}")
    return found


def _nothing(job_id: str) -> NotFoundError:
    return NotFoundError(
        f"no results of a job {job_id!r}; `sage job list` shows the jobs, and results are kept for a while only"
    )
