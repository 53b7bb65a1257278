"""Whose jobs the management API shows, and what it says of orders that are none and of a mesh without a worker."""

from __future__ import annotations

import io
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from fixtures.mesh import gateway_mesh
from fixtures.nats import NatsProcess

from sage_client.jobs.grpc_jobs import GrpcJobs
from sage_client.jobs.job_views import JobView, ResultPiece
from sage_common.errors import NotFoundError

KEYS = {"k-acme": "acme", "k-ops": "ops"}
JOB = JobView("j", "p", "running", created_unix_ms=5)
ROUTES = [
    ("GET", ""),
    ("POST", ""),
    ("GET", "/j"),
    ("GET", "/j/watch"),
    ("POST", "/j/pause"),
    ("POST", "/j/resume"),
    ("POST", "/j/cancel"),
    ("POST", "/j/savepoint"),
    ("GET", "/j/explain"),
    ("GET", "/j/results"),
    ("GET", "/j/results?follow=true"),
    ("GET", "/j/dead_letters"),
    ("POST", "/j/dead_letters/replay"),
]


@pytest.fixture
async def http(nats_server: NatsProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        gateway_mesh(nats_server, api_keys=KEYS, operators=("ops",)) as mesh,
        aiohttp.ClientSession(mesh.url) as session,
    ):
        yield session


async def ask(
    http: aiohttp.ClientSession, method: str, path: str, body: str | None = "{}", **headers: str
) -> tuple[int, Any]:
    given = {"authorization": "Bearer k-acme", **headers}
    data = body if method == "POST" else None
    async with http.request(method, f"/v1/management/jobs{path}", data=data, headers=given) as response:
        if response.content_type == "text/event-stream":
            return response.status, await response.text()
        return response.status, await response.json()


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_without_a_worker_it_is_said_within_two_seconds(
    http: aiohttp.ClientSession, method: str, path: str
) -> None:
    began = time.monotonic()
    status, answer = await ask(http, method, path)
    assert (status, answer["error"]["code"]) == (503, "unavailable")
    assert "no dataflow-worker is registered" in answer["error"]["message"]
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_key_is_needed(http: aiohttp.ClientSession, method: str, path: str) -> None:
    status, answer = await ask(http, method, path, authorization="Bearer wrong")
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")


async def test_the_worker_is_called_with_the_callers_own_key(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: list[str] = []

    async def get(self: GrpcJobs, job_id: str) -> JobView:
        tokens.append(self._calls._token)
        return JOB

    monkeypatch.setattr(GrpcJobs, "get", get)
    assert (await ask(http, "GET", "/j"))[0] == 200
    assert (await ask(http, "GET", "/j", authorization="Bearer k-ops"))[0] == 200
    assert tokens == ["k-acme", "k-ops"]


async def test_an_operator_submits_for_the_tenant_that_the_header_names(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[tuple[object, str, str]] = []

    async def submit(self: GrpcJobs, pipeline: object, job_id: str = "", *, tenant: str = "") -> JobView:
        submitted.append((pipeline, job_id, tenant))
        return JOB

    monkeypatch.setattr(GrpcJobs, "submit", submit)
    named = {"X-SAGE-Tenant": "acme"}
    status, answer = await ask(http, "POST", "?job_id=j", "a: é", authorization="Bearer k-ops", **named)
    assert (status, answer["job_id"], answer["created_unix_ms"]) == (201, "j", 5)
    assert (await ask(http, "POST", "", "{}"))[0] == 201
    assert (await ask(http, "POST", "", "{}", **{"X-SAGE-Tenant": "other"}))[0] == 403
    assert submitted == [("a: é", "j", "acme"), ("{}", "", "acme")]


async def test_results_come_in_pages(http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    async def results(
        self: GrpcJobs, job_id: str, collection: str = "", *, after: int = 0, follow: bool = False
    ) -> AsyncIterator[ResultPiece]:
        for number in range(after + 1, 5):
            read.append(number)
            yield ResultPiece(number, "out", 0, 0, [{"n": number}, {"n": -number}])
        yield ResultPiece(5, "", 0, 0, [], {"collections": {"out": 8}})

    monkeypatch.setattr(GrpcJobs, "results", results)
    _, first = await ask(http, "GET", "/j/results?limit=3")
    assert ([piece["sequence"] for piece in first["data"]], first["next_after"], first["has_more"]) == ([1, 2], 2, True)
    assert read == [1, 2], "more was read than the page holds"
    _, rest = await ask(http, "GET", "/j/results?after=2")
    assert ([piece["sequence"] for piece in rest["data"]], rest["has_more"]) == ([3, 4], False)
    assert rest["end"] == {"collections": {"out": 8}}
    status, text = await ask(http, "GET", "/j/results?follow=true", **{"Last-Event-ID": "3"})
    assert status == 200
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    assert [json.loads(event)["sequence"] for event in events] == [4, 5]
    assert "id: 4\n" in text


async def test_an_error_before_the_first_event_has_its_status_and_a_later_one_is_an_event(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def watch(self: GrpcJobs, job_id: str) -> AsyncIterator[JobView]:
        if job_id == "j":
            yield JOB
        raise NotFoundError("gone")

    monkeypatch.setattr(GrpcJobs, "watch", watch)
    status, answer = await ask(http, "GET", "/k/watch")
    assert (status, answer["error"]["message"]) == (404, "gone")
    status, text = await ask(http, "GET", "/j/watch")
    assert status == 200
    assert '"gone"' in text
    assert text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "", "", 400, "the body is empty"),
        ("POST", "", "\udcff", 400, "not UTF-8"),
        ("POST", "", "x" * (2 * 1024 * 1024 + 1), 413, "the limit is"),
        ("POST", "/j/resume?diff=perhaps", "", 400, "write diff=true"),
        ("GET", "/j/results?after=-1", None, 400, "after is '-1'"),
        ("GET", "?limit=ten", None, 400, "write a number of jobs"),
        ("DELETE", "/j", None, 405, "use GET"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_what_does(
    http: aiohttp.ClientSession, method: str, path: str, body: str | None, status: int, words: str
) -> None:
    headers = {"authorization": "Bearer k-ops"}
    data = None if body is None else io.BytesIO(body.encode("utf-8", "surrogateescape"))
    async with http.request(method, f"/v1/management/jobs{path}", data=data, headers=headers) as response:
        answer = await response.json()
    assert (response.status, words in answer["error"]["message"]) == (status, True), answer


async def test_a_page_of_another_site_gives_no_orders(http: aiohttp.ClientSession) -> None:
    for method, path in ROUTES:
        if method == "POST":
            status, answer = await ask(http, method, path, origin="https://elsewhere.example")
            assert (status, answer["error"]["code"]) == (403, "cross_origin")
