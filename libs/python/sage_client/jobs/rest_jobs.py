"""Jobs through a gateway's management API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar, cast
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from pydantic import TypeAdapter, ValidationError

from sage_client import headers as names
from sage_client.error_body import error_from_object
from sage_client.http import HttpTransport
from sage_client.jobs.job_views import (
    DeadLetters,
    DeadLetterView,
    JobExplanation,
    JobReplay,
    JobResumption,
    JobView,
    ResultPiece,
)
from sage_client.jobs.jobs import new_job_id_of, pipeline_text
from sage_common.errors import InternalError, UnavailableError

T = TypeVar("T")
ROOT = "/v1/management/jobs"
CALL_SECONDS = 60.0
# Between two of them the gateway sends a comment every 15 s: silence for longer is a connection that is gone.
SILENCE_SECONDS = 60.0
# A message of results has at most a megabyte, which JSON within JSON may double.
MOST_LINE_BYTES = 8 * 1024 * 1024


class RestJobs:
    """``Jobs`` at the gateway that ``transport`` speaks to; ``close`` closes it."""

    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport

    async def submit(self, pipeline: object, job_id: str = "", *, tenant: str = "") -> JobView:
        headers = {names.TENANT: tenant} if tenant else {}
        query = {"job_id": new_job_id_of(job_id)}
        return _read(await self._call("POST", "", query, pipeline_text(pipeline), headers), JobView)

    async def get(self, job_id: str) -> JobView:
        return _read(await self._call("GET", _of(job_id)), JobView)

    async def list_jobs(self, limit: int = 0) -> list[JobView]:
        return _read((await self._call("GET", "", {"limit": limit}))["data"], list[JobView])

    async def watch(self, job_id: str) -> AsyncIterator[JobView]:
        async for value in self._events(f"{_of(job_id)}/watch", {}):
            yield _read(value, JobView)

    async def cancel(self, job_id: str) -> JobView:
        return _read(await self._call("POST", f"{_of(job_id)}/cancel"), JobView)

    async def pause(self, job_id: str) -> JobView:
        return _read(await self._call("POST", f"{_of(job_id)}/pause"), JobView)

    async def resume(self, job_id: str, pipeline: object = "", *, only_plan: bool = False) -> JobResumption:
        query = {"diff": str(only_plan).lower()}
        return _read(await self._call("POST", f"{_of(job_id)}/resume", query, pipeline_text(pipeline)), JobResumption)

    async def savepoint(self, job_id: str) -> JobView:
        return _read(await self._call("POST", f"{_of(job_id)}/savepoint"), JobView)

    async def explain(self, job_id: str) -> JobExplanation:
        return _read(await self._call("GET", f"{_of(job_id)}/explain"), JobExplanation)

    async def results(
        self, job_id: str, collection: str = "", *, after: int = 0, follow: bool = False
    ) -> AsyncIterator[ResultPiece]:
        query: dict[str, object] = {"collection": collection, "after": after}
        if follow:
            async for value in self._events(f"{_of(job_id)}/results", {**query, "follow": "true"}):
                yield _read(value, ResultPiece)
            return
        while True:
            page = await self._call("GET", f"{_of(job_id)}/results", query)
            for value in page["data"]:
                yield _read(value, ResultPiece)
            query["after"] = page["next_after"]
            if page["end"] is not None:
                yield ResultPiece(page["next_after"], "", 0, 0, [], page["end"])
            if not page["has_more"]:
                return

    async def dead_letters(self, job_id: str, node: str = "", *, limit: int = 0, after: int = 0) -> DeadLetters:
        query = {"node": node, "limit": limit, "after": after}
        answer = await self._call("GET", f"{_of(job_id)}/dead_letters", query)
        return DeadLetters(_read(answer["data"], tuple[DeadLetterView, ...]), int(answer["total"]))

    async def replay(self, job_id: str, node: str = "", *, new_job_id: str = "") -> JobReplay:
        query = {"node": node, "job_id": new_job_id_of(new_job_id)}
        return _read(await self._call("POST", f"{_of(job_id)}/dead_letters/replay", query), JobReplay)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def _call(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: str = "",
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        given = {"content-type": "application/yaml", **(headers or {})}
        data = body.encode("utf-8", "surrogatepass") or None
        async with self._transport.open(method, _with(path, query), data, given, CALL_SECONDS) as response:
            answer = await response.read()
        try:
            return cast(dict[str, Any], orjson.loads(answer))
        except orjson.JSONDecodeError:
            raise InternalError(f"the gateway's answer is no JSON: {answer[:80]!r}") from None

    async def _events(self, path: str, query: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        async with self._transport.open("GET", _with(path, query), None, {}, None) as response:
            while True:
                line = await _line(response)
                if not line.startswith(b"data: "):
                    continue
                data = line[len(b"data: ") :].strip()
                if data == b"[DONE]":
                    return
                value = orjson.loads(data)
                if "error" in value:
                    raise error_from_object(value["error"])
                yield value


async def _line(response: aiohttp.ClientResponse) -> bytes:
    try:
        line = await asyncio.wait_for(response.content.readline(max_line_length=MOST_LINE_BYTES), SILENCE_SECONDS)
    except asyncio.TimeoutError:
        line = b""
    if not line:
        raise UnavailableError(
            "the gateway's stream broke off before its end; ask again, the job goes on",
            code="connection_lost",
            retryable=True,
        )
    return line


def _of(job_id: str) -> str:
    return f"/{quote(job_id, safe='')}"


def _with(path: str, query: dict[str, Any] | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value not in ("", None)}
    return f"{ROOT}{path}" + (f"?{urlencode(given)}" if given else "")


def _read(value: object, kind: type[T]) -> T:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise InternalError(f"the gateway's answer is not understood ({error.errors()[0]['msg']})") from None
