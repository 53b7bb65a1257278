"""Jobs through a gateway's management API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlencode

from sage_client import headers as names
from sage_client.gateway_answers import events_of, object_of, value_of
from sage_client.http import HttpTransport
from sage_client.jobs.job_views import (
    DeadLetters,
    DeadLetterView,
    JobEventView,
    JobExplanation,
    JobReplay,
    JobResumption,
    JobView,
    ResultPiece,
)
from sage_client.jobs.jobs import new_job_id_of, pipeline_text

ROOT = "/v1/management/jobs"
CALL_SECONDS = 60.0


class RestJobs:
    """``Jobs`` at the gateway that ``transport`` speaks to; ``close`` closes it."""

    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport

    async def submit(self, pipeline: object, job_id: str = "", *, tenant: str = "") -> JobView:
        headers = {names.TENANT: tenant} if tenant else {}
        query = {"job_id": new_job_id_of(job_id)}
        return value_of(await self._call("POST", "", query, pipeline_text(pipeline), headers), JobView)

    async def get(self, job_id: str) -> JobView:
        return value_of(await self._call("GET", _of(job_id)), JobView)

    async def list_jobs(self, limit: int = 0) -> list[JobView]:
        return value_of((await self._call("GET", "", {"limit": limit}))["data"], list[JobView])

    async def watch(self, job_id: str) -> AsyncIterator[JobView]:
        async for value in self._events(f"{_of(job_id)}/watch", {}):
            yield value_of(value, JobView)

    async def events(
        self, job_id: str, *, after: int = 0, follow: bool = False, progress: bool = False
    ) -> AsyncIterator[JobEventView]:
        query = {"after": after, "progress": str(progress).lower()}
        if follow:
            async for value in self._events(f"{_of(job_id)}/events", {**query, "follow": "true"}):
                yield value_of(value, JobEventView)
            return
        for value in (await self._call("GET", f"{_of(job_id)}/events", query))["data"]:
            yield value_of(value, JobEventView)

    async def cancel(self, job_id: str) -> JobView:
        return value_of(await self._call("POST", f"{_of(job_id)}/cancel"), JobView)

    async def pause(self, job_id: str) -> JobView:
        return value_of(await self._call("POST", f"{_of(job_id)}/pause"), JobView)

    async def resume(self, job_id: str, pipeline: object = "", *, only_plan: bool = False) -> JobResumption:
        query = {"diff": str(only_plan).lower()}
        answer = await self._call("POST", f"{_of(job_id)}/resume", query, pipeline_text(pipeline))
        return value_of(answer, JobResumption)

    async def savepoint(self, job_id: str) -> JobView:
        return value_of(await self._call("POST", f"{_of(job_id)}/savepoint"), JobView)

    async def explain(self, job_id: str) -> JobExplanation:
        return value_of(await self._call("GET", f"{_of(job_id)}/explain"), JobExplanation)

    async def results(
        self, job_id: str, collection: str = "", *, after: int = 0, follow: bool = False
    ) -> AsyncIterator[ResultPiece]:
        query: dict[str, object] = {"collection": collection, "after": after}
        if follow:
            async for value in self._events(f"{_of(job_id)}/results", {**query, "follow": "true"}):
                yield value_of(value, ResultPiece)
            return
        while True:
            page = await self._call("GET", f"{_of(job_id)}/results", query)
            for value in page["data"]:
                yield value_of(value, ResultPiece)
            query["after"] = page["next_after"]
            if page["end"] is not None:
                yield ResultPiece(page["next_after"], "", 0, 0, [], page["end"])
            if not page["has_more"]:
                return

    async def dead_letters(self, job_id: str, node: str = "", *, limit: int = 0, after: int = 0) -> DeadLetters:
        query = {"node": node, "limit": limit, "after": after}
        answer = await self._call("GET", f"{_of(job_id)}/dead_letters", query)
        return DeadLetters(value_of(answer["data"], tuple[DeadLetterView, ...]), int(answer["total"]))

    async def replay(self, job_id: str, node: str = "", *, new_job_id: str = "") -> JobReplay:
        query = {"node": node, "job_id": new_job_id_of(new_job_id)}
        return value_of(await self._call("POST", f"{_of(job_id)}/dead_letters/replay", query), JobReplay)

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
        return object_of(answer)

    async def _events(self, path: str, query: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        async with self._transport.open("GET", _with(path, query), None, {}, None) as response:
            async for value in events_of(response, "ask again, the job goes on"):
                yield value


def _of(job_id: str) -> str:
    return f"/{quote(job_id, safe='')}"


def _with(path: str, query: dict[str, Any] | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value not in ("", None)}
    return f"{ROOT}{path}" + (f"?{urlencode(given)}" if given else "")
