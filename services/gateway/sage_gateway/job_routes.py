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

from sage_client import headers as names
from sage_client.jobs.job_views import JobEventView, JobView, ResultPiece
from sage_client.jobs.jobs import Jobs
from sage_common.errors import InvalidRequestError
from sage_gateway.admission import wanted_headers
from sage_gateway.body_reader import BodyReader
from sage_gateway.credentials import AUTHORIZATION, Credentials
from sage_gateway.event_stream import event_stream, json_answer
from sage_gateway.order_origin import refuse_foreign_page
from sage_gateway.query_parameters import count, flag, sequence

# The workers take a megabyte; the rest is for them to refuse with their own words.
MAX_PIPELINE_BYTES = 2 * 1024 * 1024
# A page of results ends with the message that brings it to so many records.
DEFAULT_PAGE_RECORDS = 1000
MOST_PAGE_RECORDS = 100_000
LAST_EVENT_ID = "last-event-id"


class JobRoutes:
    """Serves tenants with their own jobs, and operators with everybody's.

    Args:
        jobs_for: returns the jobs as the holder of an API key sees them; None where no keys are asked for.
    """

    def __init__(
        self, jobs_for: Callable[[str | None], Jobs], credentials: Credentials, body_timeout_seconds: float
    ) -> None:
        self._jobs_for = jobs_for
        self._credentials = credentials
        self._bodies = BodyReader(MAX_PIPELINE_BYTES, body_timeout_seconds)

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        root = "/v1/management/jobs"
        job = f"{root}/{{job_id}}"
        return [
            Route(root, self._list, methods=["GET"]),
            Route(root, self._submit, methods=["POST"]),
            Route(job, self._get, methods=["GET"]),
            Route(f"{job}/watch", self._watch, methods=["GET"]),
            Route(f"{job}/events", self._events, methods=["GET"]),
            Route(f"{job}/pause", self._pause, methods=["POST"]),
            Route(f"{job}/resume", self._resume, methods=["POST"]),
            Route(f"{job}/cancel", self._cancel, methods=["POST"]),
            Route(f"{job}/savepoint", self._savepoint, methods=["POST"]),
            Route(f"{job}/explain", self._explain, methods=["GET"]),
            Route(f"{job}/results", self._results, methods=["GET"]),
            Route(f"{job}/dead_letters", self._dead_letters, methods=["GET"]),
            Route(f"{job}/dead_letters/replay", self._replay, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        jobs = await self._jobs(request).list_jobs(count(request, "limit", "jobs"))
        return json_answer({"object": "list", "data": [asdict(job) for job in jobs]})

    async def _submit(self, request: Request) -> Response:
        jobs = self._ordered(request)
        tenant = self._credentials.tenant(request.headers) if names.TENANT in request.headers else ""
        pipeline = await self._pipeline(request)
        job = await jobs.submit(pipeline, request.query_params.get("job_id", ""), tenant=tenant)
        return json_answer(asdict(job), 201)

    async def _get(self, request: Request) -> Response:
        return json_answer(asdict(await self._jobs(request).get(_job_id(request))))

    async def _watch(self, request: Request) -> Response:
        return await event_stream(self._jobs(request).watch(_job_id(request)), _job_event)

    async def _events(self, request: Request) -> Response:
        jobs, job_id = self._jobs(request), _job_id(request)
        after, progress = _after(request), flag(request, "progress")
        if flag(request, "follow"):
            return await event_stream(
                jobs.events(job_id, after=after, follow=True, progress=progress), _happening_event
            )
        found = [asdict(event) async for event in jobs.events(job_id, after=after, progress=progress)]
        return json_answer({"object": "list", "data": found})

    async def _pause(self, request: Request) -> Response:
        return json_answer(asdict(await self._ordered(request).pause(_job_id(request))))

    async def _resume(self, request: Request) -> Response:
        jobs, only_plan = self._ordered(request), flag(request, "diff")
        announced = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
        pipeline = await self._pipeline(request) if announced else ""
        return json_answer(asdict(await jobs.resume(_job_id(request), pipeline, only_plan=only_plan)))

    async def _cancel(self, request: Request) -> Response:
        return json_answer(asdict(await self._ordered(request).cancel(_job_id(request))))

    async def _savepoint(self, request: Request) -> Response:
        return json_answer(asdict(await self._ordered(request).savepoint(_job_id(request))))

    async def _explain(self, request: Request) -> Response:
        return json_answer(asdict(await self._jobs(request).explain(_job_id(request))))

    async def _results(self, request: Request) -> Response:
        jobs, job_id = self._jobs(request), _job_id(request)
        collection = request.query_params.get("collection", "")
        after = _after(request)
        if flag(request, "follow"):
            return await event_stream(jobs.results(job_id, collection, after=after, follow=True), _piece_event)
        limit = min(count(request, "limit", "records", DEFAULT_PAGE_RECORDS) or MOST_PAGE_RECORDS, MOST_PAGE_RECORDS)
        return json_answer(await _page(jobs.results(job_id, collection, after=after), after, limit))

    async def _dead_letters(self, request: Request) -> Response:
        found = await self._jobs(request).dead_letters(
            _job_id(request),
            request.query_params.get("node", ""),
            limit=count(request, "limit", "letters"),
            after=sequence(request, "after"),
        )
        letters = [asdict(letter) for letter in found.letters]
        return json_answer({"object": "list", "data": letters, "total": found.total})

    async def _replay(self, request: Request) -> Response:
        jobs, query = self._ordered(request), request.query_params
        replay = await jobs.replay(_job_id(request), query.get("node", ""), new_job_id=query.get("job_id", ""))
        return json_answer(asdict(replay), 201)

    def _jobs(self, request: Request) -> Jobs:
        """Return the jobs as the caller sees them. Raises UnauthenticatedError, PermissionDeniedError."""
        self._credentials.tenant(request.headers)
        if not self._credentials.required:
            return self._jobs_for(None)
        return self._jobs_for(request.headers[AUTHORIZATION].partition(" ")[2].strip())

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
    after = sequence(request, "after")
    seen = request.headers.get(LAST_EVENT_ID, "") if flag(request, "follow") else ""
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
