"""A closed loop sends every request once, and an answer that is none ends it."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from aiohttp import web

from sage_benchmark.embed.texts import embedding_requests
from sage_benchmark.load.closed_loop import run_closed_loop


async def test_every_request_is_sent_once_and_a_refusal_is_no_figure() -> None:
    seen: list[list[str]] = []

    async def embeddings(request: web.Request) -> web.Response:
        given = orjson.loads(await request.read())["input"]
        if given == ["bad"]:
            return web.Response(status=400, body=b"no")
        seen.append(given)
        return web.Response(body=b"[]", headers={"X-Sage-Inference-Us": "5"})

    app = web.Application()
    app.add_routes([web.post("/v1/embeddings", embeddings)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    requests = embedding_requests(base, "m", [str(n) for n in range(7)], 2)
    load = await run_closed_loop(base, requests, concurrency=3)
    assert sorted(seen) == [["0", "1"], ["2", "3"], ["4", "5"], ["6"]]
    assert len(load.responses) == 4
    assert load.responses[0].headers["x-sage-inference-us"] == "5"
    with pytest.raises(RuntimeError, match="answered 400"):
        await run_closed_loop(base, embedding_requests(base, "m", ["bad"], 1), concurrency=1)
    stop = asyncio.Event()
    stop.set()
    stopped = await run_closed_loop(base, embedding_requests(base, "m", ["x"], 1), concurrency=1, stop=stop)
    assert stopped.responses == []
    await runner.cleanup()
