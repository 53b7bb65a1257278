"""The three POST endpoints over real HTTP: headers in and out, and every refusal."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest
from fixtures.engines import CHAT_MODEL, EMBEDDING_MODEL, UPSTREAM_BODY
from fixtures.mesh import Mesh, gateway_mesh
from fixtures.nats import NatsProcess

from sage_control_plane.request.request import Hints, Priority, ServiceClass
from sage_mesh.edge.edge import EdgeTimings

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
JSON = {"content-type": "application/json"}


def chat_body(text: str = "hello", **fields: object) -> bytes:
    return orjson.dumps({"model": CHAT_MODEL, "messages": [{"role": "user", "content": text}], **fields})


async def post(
    http: aiohttp.ClientSession, path: str, body: bytes, **headers: str
) -> tuple[aiohttp.ClientResponse, dict[str, Any]]:
    given = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with http.post(path, data=body, headers=given) as response:
        value = orjson.loads(await response.read())
        return response, value


async def test_the_reply_tells_the_requests_way(http: aiohttp.ClientSession, mesh: Mesh) -> None:
    response, _ = await post(http, CHAT, chat_body(), x_request_id="mine-1")
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"] == "mine-1"
    assert response.headers["x-sage-engine"] == mesh.engine.spec.engine_id
    assert response.headers["x-sage-queue-ms"] == "1.500"
    assert response.headers["x-sage-attempts"] == "1"


@pytest.mark.parametrize("unfit", ["", "x" * 129, "caf\u00e9"])
async def test_an_unfit_request_id_is_replaced(http: aiohttp.ClientSession, unfit: str) -> None:
    response, _ = await post(http, CHAT, chat_body(), x_request_id=unfit)
    assert response.headers["x-request-id"].startswith("req-")


async def test_headers_become_hints_and_the_tenant(http: aiohttp.ClientSession, mesh: Mesh) -> None:
    await post(
        http,
        CHAT,
        chat_body(),
        x_request_priority="HIGH",
        x_request_type="bulk",
        x_slo_deadline_ms="5000",
        x_slo_ttft_ms="300",
        x_slo_tpot_ms="40",
        x_sage_tenant="acme",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )
    job = mesh.engine.jobs[-1]
    assert job.hints == Hints(Priority.HIGH, ServiceClass.BULK, 300, 40, 5000)
    assert job.tenant == "acme"
    assert job.traceparent.startswith("00-4bf9")


async def test_the_body_reaches_the_engine_untouched(http: aiohttp.ClientSession, mesh: Mesh) -> None:
    body = b' {"model" : "fake/chat", "messages":[{"role":"user","content":"\\u00e9"}], "unknown":[1.0,{"a":null}]}\n'
    await post(http, CHAT, body)
    assert mesh.engine.jobs[-1].body == body


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x_request_priority", "urgent"),
        ("x_request_type", "fast"),
        ("x_slo_deadline_ms", "soon"),
        ("x_slo_ttft_ms", "0"),
        ("x_slo_tpot_ms", "-5"),
        ("x_sage_timeout_ms", "1.5"),
        ("x_sage_timeout_ms", "4294967296"),
        ("x_sage_tenant", "x" * 129),
    ],
)
async def test_a_bad_header_is_refused_by_its_name(http: aiohttp.ClientSession, name: str, value: str) -> None:
    response, body = await post(http, CHAT, chat_body(), **{name: value})
    error = body["error"]
    assert response.status == 400
    assert (error["type"], error["code"], error["param"]) == (
        "invalid_request_error",
        "invalid_header",
        name.replace("_", "-"),
    )
    assert name.replace("_", "-") in error["message"]


REFUSALS = {
    "no json": (CHAT, b"{", {}, 400, "invalid_json"),
    "json of another type": (CHAT, b"[1]", {}, 400, "invalid_json"),
    "not text": (CHAT, b"\xff\xfe\x00", {}, 400, "invalid_json"),
    "empty": (CHAT, b"", {}, 400, "empty_body"),
    "messages of a wrong type": (CHAT, b'{"model":"fake/chat","messages":"hi"}', {}, 400, "invalid_type"),
    "model of a wrong type": (CHAT, chat_body(model=7), {}, 400, "invalid_type"),
    "stream of a wrong type": (CHAT, chat_body(stream="yes"), {}, 400, "invalid_type"),
    "too many choices": (CHAT, chat_body(n=10**9), {}, 400, "integer_above_max_value"),
    "too many candidates": (CHAT, chat_body(best_of=10**9), {}, 400, "integer_above_max_value"),
    "too many log probabilities": (CHAT, chat_body(top_logprobs=10**9), {}, 400, "integer_above_max_value"),
    "too many tokens": (CHAT, chat_body(max_tokens=10**12), {}, 400, "integer_above_max_value"),
    "no temperature": (CHAT, b'{"messages":[],"temperature":NaN}', {}, 400, "invalid_json"),
    "too hot": (CHAT, chat_body(temperature=1e300), {}, 400, "decimal_above_max_value"),
    "too many dimensions": (
        EMBEDDINGS,
        orjson.dumps({"model": EMBEDDING_MODEL, "input": "x", "dimensions": 10**9}),
        {},
        400,
        "integer_above_max_value",
    ),
    "a model's name without end": (CHAT, chat_body(model="m" * 2000), {}, 400, "model_too_long"),
    "unknown model": (CHAT, chat_body(model="nope"), {}, 404, "model_not_found"),
    "chat with an embedding model": (CHAT, chat_body(model=EMBEDDING_MODEL), {}, 400, "wrong_endpoint_for_model"),
    "embedding with a chat model": (
        EMBEDDINGS,
        orjson.dumps({"model": CHAT_MODEL, "input": "x"}),
        {},
        400,
        "wrong_endpoint_for_model",
    ),
    "no inputs": (EMBEDDINGS, orjson.dumps({"model": EMBEDDING_MODEL, "input": []}), {}, 400, "empty_input"),
    "an empty input": (EMBEDDINGS, b'{"model":"fake-embed","input":["a",""]}', {}, 400, "empty_input"),
    "no input": (EMBEDDINGS, orjson.dumps({"model": EMBEDDING_MODEL}), {}, 400, "invalid_type"),
    "a form": (CHAT, b"a=1", {"content_type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
    "text": (CHAT, chat_body(), {"content_type": "text/plain"}, 415, "unsupported_media_type"),
    "compressed": (CHAT, chat_body(), {"content_encoding": "gzip"}, 415, "unsupported_media_type"),
    "engine broke": (CHAT, chat_body("please break"), {}, 502, "engine_failed"),
    "deadline": (CHAT, chat_body("please stall"), {"x_sage_timeout_ms": "1"}, 504, "deadline_exceeded"),
}


@pytest.mark.parametrize("limit", [-1, 256.0, 256])
async def test_a_limit_in_an_engines_own_spelling_is_passed_on(
    http: aiohttp.ClientSession, mesh: Mesh, limit: float
) -> None:
    response, _ = await post(http, CHAT, chat_body(max_tokens=limit))
    assert response.status == 200
    assert orjson.loads(mesh.engine.jobs[-1].body)["max_tokens"] == limit


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_has_its_status_and_openais_shape(http: aiohttp.ClientSession, name: str) -> None:
    path, request, headers, status, code = REFUSALS[name]
    response, body = await post(http, path, request, **headers)
    assert (response.status, body["error"]["code"]) == (status, code)
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert response.headers["x-request-id"]


async def test_the_engines_own_refusal_is_passed_through(http: aiohttp.ClientSession) -> None:
    response, body = await post(http, CHAT, chat_body("please refuse"))
    assert (response.status, body) == (422, orjson.loads(UPSTREAM_BODY))


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/vnd.api+json", "Application/JSON"]
)
async def test_every_spelling_of_json_is_taken(http: aiohttp.ClientSession, content_type: str) -> None:
    response, _ = await post(http, CHAT, chat_body(), content_type=content_type)
    assert response.status == 200


async def test_a_request_without_an_id_gets_the_meshs(http: aiohttp.ClientSession, mesh: Mesh) -> None:
    response, _ = await post(http, CHAT, chat_body())
    assert response.headers["x-request-id"] == mesh.engine.jobs[-1].request_id
    assert mesh.dispatcher.requests[-1].request.correlation_id == ""


async def test_two_requests_in_flight_may_share_an_id(http: aiohttp.ClientSession, mesh: Mesh) -> None:
    named = {**JSON, "x-request-id": "same"}
    async with http.post(CHAT, data=chat_body("first wait", stream=True), headers=named) as first:
        response, body = await post(http, CHAT, chat_body("second"), x_request_id="same")
        assert (response.status, response.headers["x-request-id"]) == (200, "same")
        assert body["choices"][0]["message"]["content"] == "SECOND"
        mesh.engine.go_on.set()
        stream = await asyncio.wait_for(first.content.read(), 5)
        assert (first.status, first.headers["x-request-id"]) == (200, "same")
    assert b" WAIT" in stream
    assert stream.endswith(b"data: [DONE]\n\n")
    assert len({job.request_id for job in mesh.engine.jobs}) == 2


async def test_a_client_with_anothers_id_on_another_gateway_does_not_stop_its_stream(
    http: aiohttp.ClientSession, mesh: Mesh
) -> None:
    named = {**JSON, "x-request-id": "mine"}
    async with (
        aiohttp.ClientSession(await mesh.another_gateway()) as other,
        http.post(CHAT, data=chat_body("first wait", stream=True), headers=named) as response,
    ):
        first = await asyncio.wait_for(response.content.readuntil(b"\n\n"), 5)
        async with other.post(CHAT, data=chat_body("first wait", stream=True), headers=named) as disturbing:
            await asyncio.wait_for(disturbing.content.readuntil(b"\n\n"), 5)
            disturbing.close()
        await asyncio.wait_for(mesh.engine.job_cancelled.wait(), 5)
        mesh.engine.go_on.set()
        whole = first + await asyncio.wait_for(response.content.read(), 5)
    assert b" WAIT" in whole
    assert whole.endswith(b"data: [DONE]\n\n")
    assert mesh.engine.cancelled == [mesh.engine.jobs[1].request_id]


async def test_without_an_engine_the_answer_is_503_and_says_when_to_try_again(nats_server: NatsProcess) -> None:
    async with gateway_mesh(nats_server, engines=False) as mesh, aiohttp.ClientSession(mesh.url) as http:
        response, body = await post(http, CHAT, chat_body())
        assert (response.status, body["error"]["code"]) == (503, "no_engine")
        assert response.headers["retry-after"] == "1"


async def test_without_a_scheduler_the_request_ends_in_503(nats_server: NatsProcess) -> None:
    timings = EdgeTimings(sweep=0.02, ask_after=0.05, answer_within=0.05, give_up_after=0.2)
    async with gateway_mesh(nats_server, timings=timings) as mesh, aiohttp.ClientSession(mesh.url) as http:
        mesh.dispatcher.paused = True
        response, body = await post(http, CHAT, chat_body())
        assert (response.status, body["error"]["code"]) == (503, "no_scheduler")


async def test_events_leave_while_the_engine_still_works(http: aiohttp.ClientSession, mesh: Mesh) -> None:
    async with http.post(CHAT, data=chat_body("first wait", stream=True), headers=JSON) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["x-sage-engine"] == mesh.engine.spec.engine_id
        first = await asyncio.wait_for(response.content.readuntil(b"\n\n"), 5)
        assert b'"FIRST"' in first
        mesh.engine.go_on.set()
        rest = await response.read()
    assert b'" WAIT"' in rest
    assert rest.endswith(b"data: [DONE]\n\n")


async def test_an_error_before_the_first_event_has_its_own_status(http: aiohttp.ClientSession) -> None:
    response, body = await post(http, CHAT, chat_body("please break", stream=True))
    assert (response.status, body["error"]["code"]) == (502, "engine_failed")


async def test_an_error_in_mid_stream_is_an_event_and_then_done_without_the_torn_half(
    http: aiohttp.ClientSession,
) -> None:
    async with http.post(CHAT, data=chat_body("so tear", stream=True), headers=JSON) as response:
        events = (await response.read()).decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    error = orjson.loads(events[-3].removeprefix("data: "))["error"]
    assert (error["code"], error["status"]) == ("engine_died", 502)
    assert not any(event.startswith('data: {"choi') and not event.endswith("}") for event in events)
