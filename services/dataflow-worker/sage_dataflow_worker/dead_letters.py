"""Records that failed, kept with what it takes to send them again."""

from __future__ import annotations

from typing import Any

import orjson
from nats.js.api import Header
from nats.js.client import JetStreamContext

from sage_dataflow_worker.job_streams import JOB_ID_HEADER
from sage_kernel.operator import Record
from sage_kernel.run_context import DeadLetter
from sage_platform import subjects

# In the subject of a dead letter, in place of a node; ``token`` escapes underscores, so no node is called this.
WHOLE_JOB = "whole job"
# Of a letter; the server takes a megabyte. Of a record over it the longest texts are cut.
MAX_LETTER_BYTES = 768 * 1024
_CUT_CHARACTERS = 4096


class DeadLetters:
    """Publishes dead letters, each awaited: a record that failed is kept before the run goes on without it.

    A task that was started again sends the letters behind its last checkpoint again.
    """

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js

    async def record(self, job_id: str, spec_hash: str, task: int, letter: DeadLetter) -> None:
        """Keep a record. Raises nats.errors.Error where JetStream did not take it."""
        value = {
            "job_id": job_id,
            "node": letter.node,
            "error": letter.error,
            "attempts": letter.attempts,
            "spec_hash": spec_hash,
            "task": task,
            "record": letter.record,
        }
        data = _json(value)
        if len(data) > MAX_LETTER_BYTES:
            data = _json({**value, "record": _shortened(letter.record), "record_bytes": len(data)})
        await self._publish(subjects.dead_letters(job_id, letter.node), job_id, data, "")

    async def job(self, job_id: str, pipeline: bytes, error: str, attempts: int) -> None:
        """Keep a job that cannot be run, whole: its pipeline, as text. Raises nats.errors.Error."""
        value = {
            "job_id": job_id,
            "node": "",
            "error": error,
            "attempts": attempts,
            "record": {"pipeline": pipeline.decode("utf-8", "replace")},
        }
        await self._publish(subjects.dead_letters(job_id, WHOLE_JOB), job_id, _json(value), f"{job_id}:dlq:job")

    async def _publish(self, subject: str, job_id: str, data: bytes, message_id: str) -> None:
        headers = {JOB_ID_HEADER: job_id, **({Header.MSG_ID.value: message_id} if message_id else {})}
        await self._js.publish(subject, data, stream=subjects.DLQ_STREAM, headers=headers)


def _shortened(record: Record) -> dict[str, Any]:
    return {
        name: value[:_CUT_CHARACTERS] if isinstance(value, str) else repr(value)[:_CUT_CHARACTERS]
        for name, value in record.items()
    }


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY, default=str)
