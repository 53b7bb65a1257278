"""What a client is answered: the shape of errors, when to come back, and how the bytes travel."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import orjson
import pytest
from fixtures.outside_mesh import CHAT, Outside
from fixtures.outside_server import DONE, HELLO, MODEL, ROLE, USAGE, Asked, Wire, chunk, event, says, streams

ORIGIN = "https://chat.example.com"


@pytest.mark.parametrize("status", [400, 404, 413, 422, 429, 500, 503])
@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"because of it","type":"x","param":null,"code":null}}',
        b'{"error":"because of it"}',
        b'{"object":"error","message":"because of it","type":"x","code":1}',
        b'{"detail":"because of it"}',
        b'{"detail":[{"loc":["body"],"msg":"because of it"}]}',
        b'[{"error":{"message":"because of it","status":"X"}}]',
        b'{"message":"because of it"}',
        b"because of it",
        b"<html><body>because of it</body></html>",
    ],
)
async def test_every_error_is_an_error_object_with_the_servers_words(
    outside: Outside, status: int, body: bytes
) -> None:
    async def refuse(wire: Wire, _asked: Asked) -> None:
        # In two pieces, as a network may cut it.
        await wire.raw(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body[:7])
        await asyncio.sleep(0.02)
        await wire.raw(body[7:])

    await outside.serve(refuse)
    answered = await outside.ask()
    assert answered.status == status or (status == 500 and answered.status in (500, 502))
    assert list(answered.json) == ["error"]
    assert "because of it" in answered.error["message"]
    assert {"message", "type", "code", "param"} <= set(answered.error) | (
        {"param", "code"} if body[:1] == b"[" else set()
    )


@pytest.mark.parametrize("own_date", [True, False])
async def test_a_retry_after_date_becomes_seconds(outside: Outside, own_date: bool) -> None:
    now = datetime.now(timezone.utc)
    named = {"date": format_datetime(now, usegmt=True)} if own_date else {}
    until = format_datetime(now + timedelta(seconds=30), usegmt=True)
    await outside.serve(says({"error": {"message": "full"}}, 429, retry_after=until, **named))
    assert 25 <= int((await outside.ask()).headers["retry-after"]) <= 30


async def test_a_404_names_ten_models_and_counts_the_rest(outside: Outside) -> None:
    models = {"data": [{"id": f"model-{number:03}"} for number in range(300)]}
    await outside.serve(models=models)
    asked = await outside.ask(model="x" * 40)
    assert asked.status == 404
    assert asked.error["message"].count("model-") == 10
    assert "290 more" in asked.error["message"]
    async with outside.http.get("/v1/models/nothing") as response:
        message = (await response.json())["error"]["message"]
    assert message.count("model-") == 10


async def _raw(outside: Outside, head: bytes, body: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", outside.mesh.port)
    writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


@pytest.mark.parametrize("keep", [b"", b"connection: keep-alive\r\n"])
async def test_http_1_0_gets_no_chunks(outside: Outside, keep: bytes) -> None:
    await outside.serve()
    body = orjson.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True})
    start = b"POST /v1/chat/completions HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    head, _, sent = (await _raw(outside, start + keep, body)).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert sent == b"".join(HELLO) + DONE


async def test_http_1_0_gets_whole_answers_with_their_length(outside: Outside) -> None:
    await outside.serve()
    body = orjson.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]})
    start = b"POST /v1/chat/completions HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    head, _, sent = (await _raw(outside, start, body)).partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(sent) in head


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/octet-stream", "application/json"])
@pytest.mark.parametrize("before", [b"", b"\n\n", b"\xef\xbb\xbf", b": hello\n\n", b"id: 1\n"])
async def test_a_stream_is_known_by_its_first_bytes(outside: Outside, content_type: str, before: bytes) -> None:
    pieces = (before, *HELLO, DONE) if before else (*HELLO, DONE)
    await outside.serve(streams(*pieces, content_type=content_type))
    answered = await outside.ask(stream=True)
    assert (answered.status, answered.text, answered.done) == (200, "hello", True)


async def test_so_is_a_document_that_calls_itself_a_stream(outside: Outside) -> None:
    async def mistaken(wire: Wire, _asked: Asked) -> None:
        from fixtures.outside_server import WHOLE

        await wire.whole(b"\n\n" + orjson.dumps(WHOLE), 200, "text/event-stream")

    await outside.serve(mistaken)
    assert (await outside.ask()).text == "hello"


@pytest.mark.parametrize("owner", ["acme", "llamacpp", "vllm"])
@pytest.mark.parametrize("asked_usage", [True, False])
async def test_an_event_whose_usage_is_null_is_passed_on(outside: Outside, owner: str, asked_usage: bool) -> None:
    def null(data: bytes) -> bytes:
        return data.replace(b'"choices"', b'"usage":null,"choices"')

    last = event({"choices": [], "usage": USAGE})
    models = {"data": [{"id": MODEL, "owned_by": owner}]}
    await outside.serve(
        streams(*map(null, HELLO), event({"choices": [], "usage": None, "note": 1}), last, DONE), models
    )
    answered = await outside.ask(stream=True, stream_options={"include_usage": asked_usage})
    assert (answered.text, answered.done) == ("hello", True)
    assert b'"note":1' in answered.body
    if asked_usage:
        assert answered.body.count(b'"usage":null') == len(HELLO) + 1
        assert b'"prompt_tokens":7' in answered.body


@pytest.mark.parametrize("outside", [{"cors_origins": [ORIGIN]}], indirect=True)
async def test_pages_of_named_origins_may_ask(outside: Outside) -> None:
    await outside.serve()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    wanted = {**asked, "Access-Control-Request-Headers": "authorization,content-type"}
    async with outside.http.options(CHAT, headers=wanted) as response:
        assert response.status == 204
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["access-control-allow-headers"] == "authorization,content-type"
        assert "POST" in response.headers["access-control-allow-methods"]
    for post in ({"json": body}, {"data": b"{", "headers": {"content-type": "application/json"}}):
        headers = {"Origin": ORIGIN, **post.pop("headers", {})}  # type: ignore[dict-item]
        async with outside.http.post(CHAT, headers=headers, **post) as response:  # type: ignore[arg-type]
            assert response.headers["access-control-allow-origin"] == ORIGIN
            assert response.headers["vary"] == "Origin"
            assert {"x-request-id", "request-id"} <= set(response.headers["access-control-expose-headers"].split(", "))
    async with outside.http.post(CHAT, json=body, headers={"Origin": "https://evil.example.com"}) as response:
        assert "access-control-allow-origin" not in response.headers
    async with outside.http.options(CHAT, headers={**asked, "Origin": "null"}) as response:
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("outside", [{"stream_comment_seconds": 0.1}], indirect=True)
async def test_a_silent_stream_gets_comments(outside: Outside) -> None:
    async def slow(wire: Wire, _asked: Asked) -> None:
        await wire.begin()
        await asyncio.sleep(0.35)
        await wire.chunk(ROLE + chunk("hel"))
        await asyncio.sleep(0.35)
        await wire.chunk(b"".join(HELLO[2:]) + DONE)
        await wire.end()

    server = await outside.serve(slow)
    answered = await outside.ask(stream=True)
    assert (answered.text, answered.done) == ("hello", True)
    assert answered.body.startswith(b": keep-alive\n\n")
    assert 4 <= answered.body.count(b": keep-alive\n\n") <= 10

    async def late_failure(wire: Wire, _asked: Asked) -> None:
        await asyncio.sleep(0.35)
        await wire.json({"error": {"message": "too long", "code": 400}}, 400)

    server.post = late_failure
    answered = await outside.ask(stream=True)
    assert (answered.status, answered.error["message"], answered.error["status"]) == (200, "too long", 400)
    server.post = says({"error": {"message": "at once", "code": 400}}, 400)
    assert (await outside.ask(stream=True)).status == 400
    server.post = streams(*HELLO, DONE)
    answered = await outside.ask(stream=True)
    assert (answered.text, answered.headers["x-sage-engine"]) == ("hello", "outside-0")


@pytest.mark.parametrize("outside", [{}, {"stream_comment_seconds": None}], indirect=True)
async def test_otherwise_it_gets_none(outside: Outside) -> None:
    async def slow(wire: Wire, _asked: Asked) -> None:
        await wire.begin()
        await asyncio.sleep(0.3)
        await wire.chunk(b"".join(HELLO) + DONE)
        await wire.end()

    await outside.serve(slow)
    assert (await outside.ask(stream=True)).body == b"".join(HELLO) + DONE
