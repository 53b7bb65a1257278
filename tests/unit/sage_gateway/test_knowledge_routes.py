"""Whose knowledge bases the management API shows, and what it says of orders that are none."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
from fixtures.mesh import gateway_mesh
from fixtures.nats import NatsProcess

from sage_client.knowledge.grpc_knowledge import GrpcKnowledge
from sage_client.knowledge.knowledge_views import DocumentStored, IngestView, KnowledgeBaseView
from sage_common.errors import ConflictError

KEYS = {"k-acme": "acme", "k-ops": "ops"}
BASE = KnowledgeBaseView("docs", 1, 2, "minilm", 120, 4096, approximate=True, recall=0.97)
ROUTES = [
    ("GET", "", None),
    ("POST", "", '{"name": "docs"}'),
    ("GET", "/docs", None),
    ("DELETE", "/docs", None),
    ("GET", "/docs/documents", None),
    ("PUT", "/docs/documents/a/b.md", "text"),
    ("DELETE", "/docs/documents/a/b.md", None),
    ("POST", "/docs/ingest", '{"folder": "/docs"}'),
    ("POST", "/docs/ingest?follow=true", '{"folder": "/docs"}'),
    ("POST", "/docs/search", '{"question": "why"}'),
    ("GET", "/docs/export", None),
]


@pytest.fixture
async def http(nats_server: NatsProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        gateway_mesh(nats_server, api_keys=KEYS, operators=("ops",)) as mesh,
        aiohttp.ClientSession(mesh.url) as session,
    ):
        yield session


async def ask(
    http: aiohttp.ClientSession, method: str, path: str, body: str | bytes | None = None, **headers: str
) -> tuple[int, Any]:
    given = {"authorization": "Bearer k-acme", **headers}
    data = io.BytesIO(body.encode() if isinstance(body, str) else body) if body is not None else None
    async with http.request(method, f"/v1/management/kb{path}", data=data, headers=given) as response:
        if response.content_type == "text/event-stream":
            return response.status, await response.text()
        return response.status, await response.json()


async def test_without_a_worker_it_is_said_within_two_seconds(http: aiohttp.ClientSession) -> None:
    for method, path, body in ROUTES:
        began = time.monotonic()
        status, answer = await ask(http, method, path, body)
        assert (status, answer["error"]["code"]) == (503, "unavailable"), path
        assert "no dataflow-worker is registered" in answer["error"]["message"]
        assert time.monotonic() - began < 2.0


async def test_a_key_is_needed_and_no_other_tenants(http: aiohttp.ClientSession) -> None:
    for method, path, body in ROUTES:
        status, answer = await ask(http, method, path, body, authorization="Bearer wrong")
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key"), path
        status, answer = await ask(http, method, path, body, **{"X-SAGE-Tenant": "other"})
        assert status == 403, path


async def test_a_page_of_another_site_gives_no_orders(http: aiohttp.ClientSession) -> None:
    for method, path, body in ROUTES:
        if method != "GET" and not path.endswith("search"):
            status, answer = await ask(http, method, path, body, origin="https://elsewhere.example")
            assert (status, answer["error"]["code"]) == (403, "cross_origin"), path


async def test_the_worker_is_called_with_the_callers_own_key_and_the_tenant_that_an_operator_names(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []

    async def get(self: GrpcKnowledge, name: str) -> KnowledgeBaseView:
        calls.append((self._calls._token, self._tenant))
        return BASE

    monkeypatch.setattr(GrpcKnowledge, "get", get)
    status, answer = await ask(http, "GET", "/docs")
    assert (status, answer) == (
        200,
        {
            "name": "docs",
            "documents": 1,
            "passages": 2,
            "embedding_model": "minilm",
            "chunk_tokens": 120,
            "bytes": 4096,
            "approximate": True,
            "recall": 0.97,
            "index_note": "",
        },
    )
    await ask(http, "GET", "/docs", authorization="Bearer k-ops", **{"X-SAGE-Tenant": "acme"})
    assert calls == [("k-acme", "acme"), ("k-ops", "acme")]


async def test_a_document_goes_with_its_path_and_tags(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, str, bytes, Mapping[str, str] | None]] = []

    async def store(
        self: GrpcKnowledge, name: str, path: str, data: bytes, metadata: Mapping[str, str] | None = None
    ) -> DocumentStored:
        given.append((name, path, data, metadata))
        return DocumentStored(len(given) == 1, 2, 1)

    monkeypatch.setattr(GrpcKnowledge, "store", store)
    path = "/docs/documents/a%20b/%C3%A9.md?tag=team=hr&tag=formula=a=b"
    assert await ask(http, "PUT", path, b"\x00\xff") == (
        201,
        {"path": "a b/é.md", "stored": True, "passages": 2, "embedded": 1},
    )
    assert (await ask(http, "PUT", "/docs/documents/c.md", b"x"))[0] == 200
    assert given == [("docs", "a b/é.md", b"\x00\xff", {"team": "hr", "formula": "a=b"}), ("docs", "c.md", b"x", {})]


async def test_an_ingest_is_followed_or_awaited(http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ingest(
        self: GrpcKnowledge, name: str, folder: str, metadata: Mapping[str, str] | None = None
    ) -> AsyncIterator[IngestView]:
        yield IngestView(files=2, stored=1)
        if folder == "/broken":
            raise ConflictError("the model is another one")
        yield IngestView(files=2, stored=2, left_out=(("a.pdf", "encrypted"),), left_out_total=1, done=True)

    monkeypatch.setattr(GrpcKnowledge, "ingest", ingest)
    status, last = await ask(http, "POST", "/docs/ingest", '{"folder": "/docs"}')
    assert (status, last["stored"], last["done"], last["left_out"]) == (200, 2, True, [["a.pdf", "encrypted"]])
    status, text = await ask(http, "POST", "/docs/ingest?follow=true", '{"folder": "/docs"}')
    events = [line for line in text.splitlines() if line.startswith("data: ")]
    assert (status, len(events), events[-1]) == (200, 3, "data: [DONE]")
    status, answer = await ask(http, "POST", "/docs/ingest", '{"folder": "/broken"}')
    assert (status, answer["error"]["message"]) == (409, "the model is another one")
    status, text = await ask(http, "POST", "/docs/ingest?follow=true", '{"folder": "/broken"}')
    assert (status, '"the model is another one"' in text) == (200, True)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "", "", 400, "the body is empty"),
        ("POST", "", "[]", 400, "fields: name, embedding_model, chunk_tokens"),
        ("POST", "", '{"name": "docs", "model": "x"}', 400, "model: Extra inputs"),
        ("POST", "/docs/search", '{"question": 7}', 400, "question: Input should be a valid string"),
        ("POST", "/docs/search", '{"question": "why", "k": 0}', 400, "k: Input should be greater"),
        ("POST", "/docs/search", "x" * (64 * 1024 + 1), 413, "the limit is 65536"),
        ("PUT", "/docs/documents/a.md", "", 400, "send the document's file as it is"),
        ("PUT", "/docs/documents/a.md", b"x" * 64_000_000, 413, "has at least 64000000 bytes, the limit is 33554432"),
        ("PUT", "/docs/documents/a.md?tag=team", "x", 400, "write tag=FIELD=VALUE"),
        ("POST", "/docs/ingest?follow=perhaps", '{"folder": "/docs"}', 400, "write follow=true"),
        ("GET", "/docs/documents?limit=ten", None, 400, "write a number of documents"),
        ("GET", "/docs/export?vectors=some", None, 400, "write vectors=true"),
        ("PUT", "/docs", "x", 405, "use"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_what_does(
    http: aiohttp.ClientSession, method: str, path: str, body: str | bytes | None, status: int, words: str
) -> None:
    answered, answer = await ask(http, method, path, body, authorization="Bearer k-ops")
    assert (answered, words in answer["error"]["message"]) == (status, True), answer
