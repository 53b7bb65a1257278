"""Reading what a job has produced: records of its collections, and those that failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
from nats.js.client import JetStreamContext

from sage_common.errors import ConflictError, NotFoundError
from sage_dataflow_worker.job import Job
from sage_dataflow_worker.job_api import JobApi
from sage_dataflow_worker.job_store import JobStore
from sage_dataflow_worker.pipeline_texts import PipelineTexts
from sage_dataflow_worker.replay import replay_pipeline
from sage_dataflow_worker.stream_messages import messages_behind
from sage_platform import subjects

_LOOK_SECONDS = 0.25
MOST_REPLAYED = 100_000
DEFAULT_LETTERS = 100


@dataclass(frozen=True)
class ResultPiece:
    """Records of one collection as they were published; the last piece of a job has none and ``end``."""

    sequence: int
    collection: str
    task: int
    first: int
    records: list[Any]
    end: dict[str, Any] | None = None


@dataclass(frozen=True)
class KeptLetter:
    """A dead letter and its place in the stream."""

    sequence: int
    node: str
    error: str
    attempts: int
    spec_hash: str
    record: dict[str, Any]


class JobRecords:
    """Reads the streams of results and dead letters, and replays the latter."""

    def __init__(self, js: JetStreamContext, jobs: JobStore, texts: PipelineTexts, api: JobApi) -> None:
        self._js = js
        self._jobs = jobs
        self._texts = texts
        self._api = api

    async def results(
        self, job_id: str, collection: str = "", after: int = 0, *, follow: bool = False
    ) -> AsyncIterator[ResultPiece]:
        """Yield what was published behind the sequence ``after``, and with ``follow`` what is until the job has ended.

        Raises:
            NotFoundError: there is no such job.
        """
        await self._jobs.require(job_id)
        while True:
            job = (await self._jobs.require(job_id)).job
            async for sequence, body in self._messages(subjects.RESULTS_STREAM, subjects.results(job_id), after):
                after = sequence
                if body.get("end"):
                    yield ResultPiece(sequence, "", 0, 0, [], body)
                    return
                if not collection or body["collection"] == collection:
                    task, first = body.get("task", 0), body["first"]
                    yield ResultPiece(sequence, body["collection"], task, first, body["records"])
            if not follow or job.state.ended:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def letters(
        self, job_id: str, node: str = "", limit: int = 0, after: int = 0
    ) -> tuple[list[KeptLetter], int]:
        """Return dead letters of a job, oldest first, and how many there are in all."""
        subject = subjects.dead_letters(job_id, node) if node else subjects.all_dead_letters(job_id)
        info = await self._js.stream_info(subjects.DLQ_STREAM, subjects_filter=subject)
        total = sum((info.state.subjects or {}).values())
        found: list[KeptLetter] = []
        async for sequence, body in self._messages(subjects.DLQ_STREAM, subject, after):
            found.append(
                KeptLetter(
                    sequence, body["node"], body["error"], body["attempts"], body.get("spec_hash", ""), body["record"]
                )
            )
            if len(found) >= (limit or DEFAULT_LETTERS):
                break
        return found, total

    async def replay(self, job_id: str, node: str = "", new_job_id: str = "") -> tuple[Job, int]:
        """Submit the records that failed at a node as a new job of what follows from that node on.

        Raises:
            NotFoundError: the job is not there, or has no such letters.
            ConflictError: the records cannot be replayed; the message says why and what to do.
        """
        job = (await self._jobs.require(job_id)).job
        letters, total = await self.letters(job_id, node, MOST_REPLAYED)
        nodes = sorted({letter.node for letter in letters})
        if not letters:
            raise NotFoundError(f"job {job_id!r} has no dead letters{f' of node {node!r}' if node else ''}")
        if len(nodes) > 1 or not nodes[0]:
            raise ConflictError(f"there are letters of {', '.join(map(repr, nodes))}; name the node to replay")
        if total > len(letters):
            raise ConflictError(f"{total} letters are more than a job's {MOST_REPLAYED}; publish them to a source")
        spec = (await self._texts.admitted(job_id)).spec
        pipeline = replay_pipeline(spec, nodes[0], [letter.record for letter in letters])
        return await self._api.submit(pipeline, new_job_id, job.tenant), len(letters)

    async def _messages(self, stream: str, subject: str, after: int) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        async for sequence, data in messages_behind(self._js, stream, subject, after):
            yield sequence, orjson.loads(data or b"{}")
