"""Everything but the hot path: liveness, models, management, metrics, and refusals of unknown paths and methods."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from fixtures.engines import CHAT_MODEL, EMBEDDING_MODEL
from fixtures.mesh import Mesh, gateway_mesh
from fixtures.nats import NatsProcess, start_nats


async def get(http: aiohttp.ClientSession, path: str) -> tuple[aiohttp.ClientResponse, dict[str, Any]]:
    async with http.get(path) as response:
        return response, orjson.loads(await response.read())


@pytest.mark.parametrize(
    ("path", "nearest"),
    [("/v1/chat/completion", "/v1/chat/completions"), ("/chat/completions", "/v1/chat/completions")],
)
async def test_an_unknown_path_is_404_with_the_nearest_known_one(
    http: aiohttp.ClientSession, path: str, nearest: str
) -> None:
    async with http.post(path, data=b"{}") as response:
        error = orjson.loads(await response.read())["error"]
    assert (response.status, error["code"], error["type"]) == (404, "not_found", "invalid_request_error")
    assert f"did you mean {nearest}?" in error["message"]
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/v1/chat/completions", "POST"), ("DELETE", "/v1/embeddings", "POST"), ("POST", "/v1/models", "GET")],
)
async def test_a_wrong_method_is_405_and_names_the_right_one(
    http: aiohttp.ClientSession, method: str, path: str, allowed: str
) -> None:
    async with http.request(method, path) as response:
        error = orjson.loads(await response.read())["error"]
    assert (response.status, error["code"]) == (405, "method_not_allowed")
    assert allowed in response.headers["allow"]


async def test_a_wrong_method_names_all_that_a_path_has(http: aiohttp.ClientSession) -> None:
    async with http.put("/v1/files") as response:
        assert response.status == 405
        assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(
    "path", ["/v1/management/status?limit=5", "/v1/management/engines?pool=main", "/v1/files?sort=name"]
)
async def test_a_parameter_that_is_not_known_is_refused_by_name(http: aiohttp.ClientSession, path: str) -> None:
    response, body = await get(http, path)
    name = path.partition("?")[2].partition("=")[0]
    assert response.status == 400
    assert (body["error"]["code"], body["error"]["param"]) == ("unknown_parameter", name)


async def test_probes_and_lists_of_models_may_be_asked_for_with_any_parameter(http: aiohttp.ClientSession) -> None:
    for path in ("/health?t=1", "/v1/models?client_version=1"):
        assert (await get(http, path))[0].status == 200


async def test_the_gateway_is_alive_before_it_is_ready(nats_server: NatsProcess) -> None:
    async with gateway_mesh(nats_server, engines=False) as mesh, aiohttp.ClientSession(mesh.url) as http:
        response, body = await get(http, "/health")
        assert (response.status, body) == (200, {"status": "ok"})
        response, body = await get(http, "/ready")
        assert (response.status, body["error"]["code"]) == (503, "not_ready")
        assert "no engine has announced a model" in body["error"]["message"]
        assert response.headers["retry-after"] == "1"


async def test_the_gateway_is_ready_once_a_model_is_known(http: aiohttp.ClientSession) -> None:
    response, body = await get(http, "/ready")
    assert (response.status, body) == (200, {"status": "ready"})


async def test_losing_nats_makes_the_gateway_unready_and_its_return_ready_again(tmp_path: Path) -> None:
    nats = start_nats(tmp_path)
    try:
        async with gateway_mesh(nats) as mesh, aiohttp.ClientSession(mesh.url) as http:
            nats.kill()
            body = await until_status(http, "/ready", 503)
            assert "NATS is not connected" in body["error"]["message"]
            nats.start_again()
            await until_status(http, "/ready", 200)
    finally:
        nats.stop()


async def until_status(http: aiohttp.ClientSession, path: str, status: int) -> dict[str, Any]:
    async def poll() -> dict[str, Any]:
        while True:
            response, body = await get(http, path)
            if response.status == status:
                return body
            await asyncio.sleep(0.02)

    return await asyncio.wait_for(poll(), 10)


async def test_an_unknown_model_lists_the_known_ones(http: aiohttp.ClientSession) -> None:
    response, body = await get(http, "/v1/models/nope")
    assert (response.status, body["error"]["code"]) == (404, "model_not_found")
    assert CHAT_MODEL in body["error"]["message"]


async def test_a_model_name_with_a_slash_is_found(http: aiohttp.ClientSession) -> None:
    response, body = await get(http, f"/v1/models/{CHAT_MODEL}")
    assert (response.status, body["id"], body["kinds"]) == (200, CHAT_MODEL, ["llm_chat", "llm_generate"])


async def test_status_tells_models_services_and_what_is_in_flight(http: aiohttp.ClientSession, mesh: Mesh) -> None:
    response, body = await get(http, "/v1/management/status")
    assert response.status == 200
    assert (body["ready"], body["reason"], body["in_flight"], body["engines"]) == (True, "", 0, 1)
    assert body["models"] == [EMBEDDING_MODEL, CHAT_MODEL]
    assert [service["service"] for service in body["services"]] == ["gateway"]


async def test_engines_are_listed_with_their_state(http: aiohttp.ClientSession, mesh: Mesh) -> None:
    _, body = await get(http, "/v1/management/engines")
    (engine,) = body["data"]
    assert (engine["engine_id"], engine["phase"], engine["running"]) == (mesh.engine.spec.engine_id, "ready", 0)
    assert engine["models"] == [CHAT_MODEL, EMBEDDING_MODEL]
    assert 0 <= engine["heartbeat_age_seconds"] < 5


async def test_metrics_count_requests_by_endpoint_and_status(http: aiohttp.ClientSession) -> None:
    good = orjson.dumps({"model": EMBEDDING_MODEL, "input": "x"})
    json = {"content-type": "application/json"}
    for body in (good, good, b"{"):
        async with http.post("/v1/embeddings", data=body, headers=json) as response:
            await response.read()
    async with http.get("/metrics") as response:
        text = await response.text()
    assert 'sage_gateway_requests_total{endpoint="embeddings",status="200"} 2.0' in text
    assert 'sage_gateway_requests_total{endpoint="embeddings",status="400"} 1.0' in text
    assert 'sage_gateway_ttft_seconds_count{endpoint="embeddings"} 2.0' in text
    assert 'sage_gateway_total_seconds_count{endpoint="embeddings"} 3.0' in text
    assert "sage_gateway_in_flight 0.0" in text


async def test_operators_paths_need_no_key_and_the_api_does(nats_server: NatsProcess) -> None:
    async with gateway_mesh(nats_server, api_keys={"k": "acme"}) as mesh, aiohttp.ClientSession(mesh.url) as http:
        for path in ("/health", "/ready", "/metrics"):
            async with http.get(path) as response:
                assert response.status == 200
        for path in ("/v1/models", "/v1/models/x", "/v1/management/status", "/v1/management/engines"):
            response, body = await get(http, path)
            assert (response.status, body["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "kind"),
    [
        ("PUT", "/v1/messages/batches", {}, 405, "invalid_request_error"),
        ("POST", "/v1/messages/batches", {}, 404, "not_found_error"),
        ("GET", "/v1/messages", {}, 405, "invalid_request_error"),
        ("POST", "/v1/messages", {"host": "evil.example"}, 403, "permission_error"),
        (
            "POST",
            "/v1/messages",
            {"origin": "http://evil.example", "content-type": "text/plain"},
            403,
            "permission_error",
        ),
    ],
)
async def test_whatever_refuses_a_request_of_anthropics_api_does_so_in_its_shape(
    http: aiohttp.ClientSession, method: str, path: str, headers: dict[str, str], status: int, kind: str
) -> None:
    async with http.request(method, path, data=b"{}", headers=headers) as response:
        answer = orjson.loads(await response.read())
    assert (response.status, answer["type"], answer["error"]["type"]) == (status, "error", kind)
    assert response.headers.getall("request-id") == [answer["request_id"]]
    assert response.headers.getall("x-request-id") == [answer["request_id"]]


async def test_other_paths_are_named_by_sages_header_alone(http: aiohttp.ClientSession) -> None:
    response, body = await get(http, "/v1/messagesque")
    assert (response.status, body["error"]["type"]) == (404, "invalid_request_error")
    assert "request-id" not in response.headers
    assert len(response.headers.getall("x-request-id")) == 1
