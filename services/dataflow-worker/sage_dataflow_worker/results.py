"""Publishing what a job produces: records of its collections, and records that a node could not process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from nats.js.api import Header
from nats.js.client import JetStreamContext

from sage_common.errors import TooLargeError
from sage_dataflow_worker.job_streams import JOB_ID_HEADER
from sage_kernel.operator import Record
from sage_kernel.runtime.progress import RunResult
from sage_platform import subjects

# A message is filled up to here; a single record may have twice as much, beyond that it belongs into a file.
MESSAGE_BYTES = 256 * 1024
MAX_RECORD_BYTES = 512 * 1024
# In the subject of a dead letter, in place of a node; ``token`` escapes underscores, so no node is called this.
WHOLE_JOB = "whole job"


class ResultPublisher:
    """Publishes results. Each message has an id made of job and place, so a job that runs again within the stream's
    duplicate window adds nothing twice.

    A message on ``sage.results.<job>`` is JSON: ``{"job_id", "collection", "first", "records"}`` with the position of
    its first record; the last one is ``{"job_id", "end": true, "collections": {name: records}, …}``.
    """

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js

    async def publish(self, job_id: str, spec_hash: str, result: RunResult) -> None:
        """Publish everything.

        Raises:
            TooLargeError: a record is over ``MAX_RECORD_BYTES``.
            nats.errors.Error: JetStream did not take it.
        """
        for position, letter in enumerate(result.dead_letters):
            value = {
                "job_id": job_id,
                "node": letter.node,
                "error": letter.error,
                "attempts": letter.attempts,
                "spec_hash": spec_hash,
                "record": letter.record,
            }
            subject = subjects.dead_letters(job_id, letter.node)
            await self._send(subject, subjects.DLQ_STREAM, job_id, f"dlq:{position}", value)
        subject = subjects.results(job_id)
        for name, records in result.collections.items():
            for first, piece in _pieces(name, records):
                body = {"job_id": job_id, "collection": name, "first": first, "records": piece}
                await self._send(subject, subjects.RESULTS_STREAM, job_id, f"{name}:{first}", body)
        end = {
            "job_id": job_id,
            "end": True,
            "spec_hash": spec_hash,
            "collections": {name: len(records) for name, records in result.collections.items()},
            "failed_records": sum(counts.records_failed for counts in result.counts.values()),
            "skipped": [list(skipped) for skipped in result.skipped[:1000]],
            "warnings": [list(warning) for warning in result.warnings[:1000]],
        }
        await self._send(subject, subjects.RESULTS_STREAM, job_id, "end", end)

    async def dead_letter(self, job_id: str, pipeline: bytes, error: str, attempts: int) -> None:
        """Keep a job that cannot be run among the dead letters, whole: its pipeline, as text.

        Raises:
            nats.errors.Error: JetStream did not take it.
        """
        value = {
            "job_id": job_id,
            "node": "",
            "error": error,
            "attempts": attempts,
            "record": {"pipeline": pipeline.decode("utf-8", "replace")},
        }
        subject = subjects.dead_letters(job_id, WHOLE_JOB)
        await self._send(subject, subjects.DLQ_STREAM, job_id, "dlq:job", value)

    async def _send(self, subject: str, stream: str, job_id: str, place: str, value: dict[str, Any]) -> None:
        headers = {JOB_ID_HEADER: job_id, Header.MSG_ID.value: f"{job_id}:{place}"}
        await self._js.publish(subject, _json(value), stream=stream, headers=headers)


def _pieces(name: str, records: list[Record]) -> Iterator[tuple[int, list[orjson.Fragment]]]:
    first = size = 0
    piece: list[orjson.Fragment] = []
    for position, record in enumerate(records):
        encoded = _json(record)
        if len(encoded) > MAX_RECORD_BYTES:
            raise TooLargeError(
                f"record {position} of collection {name!r} has {len(encoded)} bytes, over the limit of "
                f"{MAX_RECORD_BYTES} for a message; keep fewer 'fields' in the sink or use a jsonl sink"
            )
        if piece and size + len(encoded) > MESSAGE_BYTES:
            yield first, piece
            first, size, piece = position, 0, []
        piece.append(orjson.Fragment(encoded))
        size += len(encoded)
    if piece:
        yield first, piece


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
