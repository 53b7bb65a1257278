"""Reading pages over HTTP and posting records, with a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiohttp import web

from sage_common.errors import (
    NotFoundError,
    PermissionDeniedError,
    TooLargeError,
    UnavailableError,
    UnprocessableError,
)
from sage_kernel.builder import Pipeline
from sage_kernel.host_access import ANY_HOST, HostAccess
from sage_kernel.problems import NodeFailedError, PositionGoneError
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.runtime.progress import RunResult


class Server:
    """Serves pages, takes posts, and counts both."""

    def __init__(self) -> None:
        self.url = ""
        self.pages: dict[str, web.Response | list[Any]] = {}
        self.asked: list[str] = []
        self.posted: list[tuple[str | None, Any]] = []
        self.refusals: list[int] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        if request.method == "POST":
            if self.refusals:
                return web.Response(status=self.refusals.pop(0), text="not now")
            self.posted.append((request.headers.get("Idempotency-Key"), await request.json()))
            return web.Response()
        page = self.pages.get(request.path_qs)
        if page is None:
            return web.Response(status=404, text="no such page")
        if isinstance(page, list):
            return web.json_response(page)
        return web.Response(body=page.body, status=page.status, headers=page.headers)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    serving = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serving.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    serving.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield serving
    await runner.cleanup()


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


async def read(url: str, hosts: HostAccess = ANY_HOST, **options: Any) -> RunResult:
    pipeline = Pipeline("p")
    pipeline.source(url, **options).sink("collection:out")
    runner = LocalRunner(None, hosts=hosts, sleep=no_sleep)  # type: ignore[arg-type]
    return await asyncio.wait_for(runner.run(pipeline.build()), 20)


def numbers(result: RunResult) -> Sequence[int]:
    return [record["n"] for record in result.collections["out"]]


def text(body: str, content_type: str, **headers: str) -> web.Response:
    return web.Response(body=body.encode(), headers={"Content-Type": content_type, **headers})


async def test_json_json_lines_and_csv_are_told_apart_by_their_content_type(server: Server) -> None:
    server.pages["/json"] = [{"n": 1}, {"n": 2}]
    server.pages["/lines"] = text('{"n": 1}\n{"n": 2}\n', "application/x-ndjson")
    server.pages["/csv"] = text("n\n1\n2\n", "text/csv")
    server.pages["/named"] = text('{"n": 1}\n{"n": 2}\n', "text/plain")
    cases: dict[str, dict[str, Any]] = {"json": {}, "lines": {}, "csv": {}, "named": {"format": "jsonl"}}
    for path, options in cases.items():
        assert numbers(await read(f"{server.url}/{path}", **options)) == [1, 2]


async def test_pages_follow_a_field_or_a_link(server: Server) -> None:
    server.pages["/a"] = text(json.dumps({"data": {"items": [{"n": 1}]}, "next": "/b?x=1"}), "application/json")
    server.pages["/b?x=1"] = text(json.dumps({"data": {"items": [{"n": 2}]}, "next": None}), "application/json")
    assert numbers(await read(f"{server.url}/a", items="data.items", next="next")) == [1, 2]
    server.pages["/c"] = text('[{"n": 1}]', "application/json", Link='</d>; rel="next"')
    server.pages["/d"] = text('[{"n": 2}]', "application/json")
    assert numbers(await read(f"{server.url}/c")) == [1, 2]


async def test_a_bad_record_is_refused_with_its_place(server: Server) -> None:
    server.pages["/a"] = [{"n": 1}, {"n": "x"}, 5, {"n": 2}]
    result = await read(f"{server.url}/a", schema={"n": "int"}, on_error="dlq")
    assert numbers(result) == [1, 2]
    assert [letter.record["place"] for letter in result.dead_letters] == [
        f"{server.url}/a, record 2", f"{server.url}/a, record 3",
    ]  # fmt: skip


async def test_a_position_goes_on_and_a_page_that_changed_is_an_error(server: Server) -> None:
    from sage_kernel.connectors.http_source import HttpPages, HttpSource
    from sage_kernel.connectors.patience import Patience
    from sage_kernel.connectors.source_options import SourceOptions

    server.pages["/a"] = text('[{"n": 1}, {"n": 2}]', "application/json", ETag='"1"', Link='</b>; rel="next"')
    server.pages["/b"] = text('[{"n": 3}]', "application/json")
    patience = Patience(None, "s", "it", 0)  # type: ignore[arg-type]
    source = HttpSource(HttpPages(f"{server.url}/a"), SourceOptions(), ANY_HOST, patience)
    batches = [batch async for batch in source.batches(None, None)]
    for at, batch in enumerate(batches):
        rest = [row async for later in source.batches(None, batch.position) for row in later.frame["n"]]
        assert rest == [n for later in batches[at + 1 :] for n in later.frame["n"]]
    server.pages["/a"] = text('[{"n": 7}, {"n": 2}]', "application/json", ETag='"2"')
    with pytest.raises(PositionGoneError, match="has changed since 2 records of it were read"):
        _ = [batch async for batch in source.batches(None, batches[0].position)]


async def test_hosts_outside_the_list_are_refused_also_behind_a_redirect(server: Server) -> None:
    server.pages["/a"] = [{"n": 1}]
    server.pages["/away"] = web.Response(status=302, headers={"Location": "http://169.254.169.254/secret"})
    server.pages["/near"] = web.Response(status=302, headers={"Location": "/a"})
    loopback = HostAccess(("127.0.0.1",), "dataflow_worker.allowed_hosts")
    assert numbers(await read(f"{server.url}/near", loopback)) == [1]
    name = server.url.replace("127.0.0.1", "localhost")
    for url, hosts in (
        (f"{server.url}/a", HostAccess(("example.com",), "dataflow_worker.allowed_hosts")),
        (f"{server.url}/away", loopback),
        # A name alone allows no private address.
        (f"{name}/a", HostAccess(("localhost",), "dataflow_worker.allowed_hosts")),
    ):
        with pytest.raises(NodeFailedError, match=r"add it to dataflow_worker\.allowed_hosts") as caught:
            await read(url, hosts)
        assert isinstance(caught.value.cause, PermissionDeniedError)
    both = HostAccess(("localhost", "127.0.0.0/8", "::1"))
    assert numbers(await read(f"{name}/a", both)) == [1]


async def test_what_cannot_be_fetched_says_why(server: Server) -> None:
    server.pages["/text"] = text("hello", "text/plain")
    server.pages["/large"] = text("[" + "1," * 5000 + "1]", "application/json")
    server.pages["/round"] = web.Response(status=302, headers={"Location": "/round"})
    server.pages["/down"] = web.Response(status=503, text="down")
    cases: tuple[tuple[str, dict[str, Any], type[Exception], str], ...] = (
        ("none", {}, NotFoundError, "answers 404 Not Found: no such page"),
        ("text", {}, UnprocessableError, "state its 'format'"),
        ("large", {"max_file_bytes": 1000}, TooLargeError, "over the limit of 1000"),
        ("round", {}, UnprocessableError, "redirects more than 5 times"),
        ("down", {"patience": 0, "schema": {"n": "int"}}, UnavailableError, "answers 503"),
    )
    for path, options, kind, words in cases:
        with pytest.raises(NodeFailedError, match=words) as caught:
            await read(f"{server.url}/{path}", **options)
        assert isinstance(caught.value.cause, kind)


async def post(server: Server, count: int = 5, **options: Any) -> RunResult:
    pipeline = Pipeline("p")
    pipeline.source(records=[{"n": n, "text": "x"} for n in range(count)]).sink(f"{server.url}/in", **options)
    runner = LocalRunner(None, sleep=no_sleep)  # type: ignore[arg-type]
    return await asyncio.wait_for(runner.run(pipeline.build()), 20)


async def test_each_record_is_posted_with_its_key(server: Server) -> None:
    await post(server, id="r{n}", fields=["n"], concurrency=3)
    assert sorted(server.posted, key=lambda entry: str(entry[0])) == [(f"r{n}", {"n": n}) for n in range(5)]


async def test_a_receiver_that_is_busy_is_asked_again_and_one_that_refuses_fails_the_record(server: Server) -> None:
    server.refusals = [503, 429, 500]
    await post(server, id="r{n}")
    assert sorted(record["n"] for _, record in server.posted) == list(range(5))
    server.refusals = [400]
    with pytest.raises(NodeFailedError, match="answers 400 Bad Request: not now"):
        await post(server, count=1, id="r{n}")
