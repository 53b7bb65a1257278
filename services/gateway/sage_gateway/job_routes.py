"""Jobs over REST: the dataflow workers' verbs, with the caller's own key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_client.jobs.job_views import (
    DeadLetterView,
    JobEventView,
    JobExplanation,
    JobReplay,
    JobResumption,
    JobView,
    ResultPiece,
)
from sage_client.jobs.jobs import Jobs
from sage_common.errors import InvalidRequestError
from sage_gateway.admission import wanted_headers
from sage_gateway.body_reader import BodyReader
from sage_gateway.credentials import Credentials
from sage_gateway.event_stream import event_stream, json_answer
from sage_gateway.openapi.answers import Listed, ListedOf
from sage_gateway.openapi.operation import TEXT, operation, routes_of
from sage_gateway.order_origin import refuse_foreign_page
from sage_gateway.query_parameters import Count, Flag, Sequence, Text

# The workers take a megabyte; the rest is for them to refuse with their own words.
MAX_PIPELINE_BYTES = 2 * 1024 * 1024
# A page of results ends with the message that brings it to so many records.
DEFAULT_PAGE_RECORDS = 1000
MOST_PAGE_RECORDS = 100_000
LAST_EVENT_ID = "last-event-id"

_ROOT = "/v1/management/jobs"
_JOB = f"{_ROOT}/{{job_id}}"
_PIPELINE = {"application/yaml": TEXT, "application/json": {"type": "object"}}

_MOST_JOBS = Count("limit", "jobs", about="most jobs to list; 0 for all")
_NEW_ID = Text("job_id", "id of the new job; empty makes one")
_AFTER = Sequence("after", "sequence behind which to begin")
_FOLLOW = Flag("follow", "go on as a stream of events until the job has ended")
_PROGRESS = Flag("progress", "with what its nodes have counted")
_DIFF = Flag("diff", "only say what would become of the state")
_COLLECTION = Text("collection", "of which to read; empty for all")
_MOST_RECORDS = Count("limit", "records", DEFAULT_PAGE_RECORDS, about="records after which a page ends")
_NODE = Text("node", "at which records failed; empty for all nodes")
_MOST_LETTERS = Count("limit", "letters", about="most letters to list; 0 for all")


class ResultPage(Listed[ResultPiece]):
    """Pieces of results; the next page is behind ``next_after``."""

    next_after: int
    has_more: bool
    end: dict[str, Any] | None


class JobRoutes:
    """Serves tenants with their own jobs, and operators with everybody's.

    Args:
        jobs_for: returns the jobs as the holder of an API key sees them, or with None as the mesh does, or the tenant
            that is named beside it.
    """

    def __init__(
        self, jobs_for: Callable[[str | None, str], Jobs], credentials: Credentials, body_timeout_seconds: float
    ) -> None:
        self._jobs_for = jobs_for
        self._credentials = credentials
        self._bodies = BodyReader(MAX_PIPELINE_BYTES, body_timeout_seconds)

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return routes_of(self)

    @operation("GET", _ROOT, "List jobs, newest first", answer=Listed[JobView], query=(_MOST_JOBS,))
    async def _list(self, request: Request) -> Response:
        jobs = await self._jobs(request).list_jobs(_MOST_JOBS.of(request))
        return json_answer({"object": "list", "data": [asdict(job) for job in jobs]})

    @operation("POST", _ROOT, "Submit a pipeline", answer=JobView, status=201, raw_body=_PIPELINE, query=(_NEW_ID,))
    async def _submit(self, request: Request) -> Response:
        jobs = self._ordered(request)
        # Always named: called as the mesh, for an operator with a token, a worker knows no tenant of the caller's own.
        tenant = self._credentials.tenant(request.headers)
        pipeline = await self._pipeline(request)
        job = await jobs.submit(pipeline, _NEW_ID.of(request), tenant=tenant)
        return json_answer(asdict(job), 201)

    @operation("GET", _JOB, "Get a job", answer=JobView)
    async def _get(self, request: Request) -> Response:
        return json_answer(asdict(await self._jobs(request).get(_job_id(request))))

    @operation("GET", f"{_JOB}/watch", "Follow a job: now, and after each change", events=JobView)
    async def _watch(self, request: Request) -> Response:
        return await event_stream(self._jobs(request).watch(_job_id(request)), _job_event)

    @operation(
        "GET",
        f"{_JOB}/events",
        "List or follow what happened to a job and its tasks",
        answer=Listed[JobEventView],
        events=JobEventView,
        query=(_AFTER, _FOLLOW, _PROGRESS),
    )
    async def _events(self, request: Request) -> Response:
        jobs, job_id = self._jobs(request), _job_id(request)
        after, progress = _after(request), _PROGRESS.of(request)
        if _FOLLOW.of(request):
            return await event_stream(
                jobs.events(job_id, after=after, follow=True, progress=progress), _happening_event
            )
        found = [asdict(event) async for event in jobs.events(job_id, after=after, progress=progress)]
        return json_answer({"object": "list", "data": found})

    @operation("POST", f"{_JOB}/pause", "Pause a job", answer=JobView)
    async def _pause(self, request: Request) -> Response:
        return json_answer(asdict(await self._ordered(request).pause(_job_id(request))))

    @operation(
        "POST",
        f"{_JOB}/resume",
        "Go on with a job, with a changed pipeline or its own",
        answer=JobResumption,
        raw_body=_PIPELINE,
        body_optional=True,
        query=(_DIFF,),
    )
    async def _resume(self, request: Request) -> Response:
        jobs, only_plan = self._ordered(request), _DIFF.of(request)
        announced = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
        pipeline = await self._pipeline(request) if announced else ""
        return json_answer(asdict(await jobs.resume(_job_id(request), pipeline, only_plan=only_plan)))

    @operation("POST", f"{_JOB}/cancel", "Cancel a job", answer=JobView)
    async def _cancel(self, request: Request) -> Response:
        return json_answer(asdict(await self._ordered(request).cancel(_job_id(request))))

    @operation("POST", f"{_JOB}/savepoint", "Stop a job so that it can go on later", answer=JobView)
    async def _savepoint(self, request: Request) -> Response:
        return json_answer(asdict(await self._ordered(request).savepoint(_job_id(request))))

    @operation("GET", f"{_JOB}/explain", "Explain where the tasks of a job are", answer=JobExplanation)
    async def _explain(self, request: Request) -> Response:
        return json_answer(asdict(await self._jobs(request).explain(_job_id(request))))

    @operation(
        "GET",
        f"{_JOB}/results",
        "Read or follow what a job published",
        answer=ResultPage,
        events=ResultPiece,
        query=(_COLLECTION, _AFTER, _FOLLOW, _MOST_RECORDS),
    )
    async def _results(self, request: Request) -> Response:
        jobs, job_id = self._jobs(request), _job_id(request)
        collection = _COLLECTION.of(request)
        after = _after(request)
        if _FOLLOW.of(request):
            return await event_stream(jobs.results(job_id, collection, after=after, follow=True), _piece_event)
        limit = min(_MOST_RECORDS.of(request) or MOST_PAGE_RECORDS, MOST_PAGE_RECORDS)
        return json_answer(await _page(jobs.results(job_id, collection, after=after), after, limit))

    @operation(
        "GET",
        f"{_JOB}/dead_letters",
        "List the records that failed",
        answer=ListedOf[DeadLetterView],
        query=(_NODE, _MOST_LETTERS, _AFTER),
    )
    async def _dead_letters(self, request: Request) -> Response:
        found = await self._jobs(request).dead_letters(
            _job_id(request),
            _NODE.of(request),
            limit=_MOST_LETTERS.of(request),
            after=_AFTER.of(request),
        )
        letters = [asdict(letter) for letter in found.letters]
        return json_answer({"object": "list", "data": letters, "total": found.total})

    @operation(
        "POST",
        f"{_JOB}/dead_letters/replay",
        "Start a job with the records that failed",
        answer=JobReplay,
        status=201,
        query=(_NODE, _NEW_ID),
    )
    async def _replay(self, request: Request) -> Response:
        jobs = self._ordered(request)
        replay = await jobs.replay(_job_id(request), _NODE.of(request), new_job_id=_NEW_ID.of(request))
        return json_answer(asdict(replay), 201)

    def _jobs(self, request: Request) -> Jobs:
        """Return the jobs as the caller sees them. Raises UnauthenticatedError, PermissionDeniedError."""
        return self._jobs_for(*self._credentials.forwarded(request.headers))

    def _ordered(self, request: Request) -> Jobs:
        """Return the same for an order. Raises PermissionDeniedError for one that a page of another site sends."""
        refuse_foreign_page(request)
        return self._jobs(request)

    async def _pipeline(self, request: Request) -> str:
        """Return the body as text. Raises InvalidRequestError, TooLargeError."""
        body = await self._bodies.read(wanted_headers(request.scope), request.receive)
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequestError(
                f"the body is not UTF-8 text (byte {error.start}); send the pipeline as YAML or JSON"
            ) from None


def _job_id(request: Request) -> str:
    return str(request.path_params["job_id"])


def _after(request: Request) -> int:
    """Return the sequence to begin behind. A browser that connects to a stream again says what it has seen of it."""
    after = _AFTER.of(request)
    seen = request.headers.get(LAST_EVENT_ID, "") if _FOLLOW.of(request) else ""
    return max(after, int(seen)) if seen.isascii() and seen.isdecimal() and len(seen) < 19 else after


async def _page(pieces: AsyncIterator[ResultPiece], after: int, limit: int) -> dict[str, Any]:
    """Return the pieces up to the one that brings them to ``limit`` records, and behind which sequence to go on."""
    found: list[ResultPiece] = []
    records, is_whole = 0, True
    async with aclosing(pieces) as reading:  # type: ignore[type-var]
        async for piece in reading:
            found.append(piece)
            records += len(piece.records)
            if records >= limit:
                is_whole = False
                break
    end = found.pop().end if found and found[-1].end is not None else None
    last = found[-1].sequence if found else after
    return {
        "object": "list",
        "data": [_piece(piece) for piece in found],
        "next_after": last,
        "has_more": not is_whole,
        "end": end,
    }


def _piece(piece: ResultPiece) -> dict[str, Any]:
    value = asdict(piece)
    if piece.end is None:
        del value["end"]
    return value


def _job_event(job: JobView) -> bytes:
    return b"data: " + orjson.dumps(job) + b"\n\n"


def _happening_event(event: JobEventView) -> bytes:
    return b"id: %d\ndata: " % event.sequence + orjson.dumps(event) + b"\n\n"


def _piece_event(piece: ResultPiece) -> bytes:
    return b"id: %d\ndata: " % piece.sequence + orjson.dumps(_piece(piece)) + b"\n\n"
