"""What a page of another site can make a browser send to a gateway without API keys."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from fixtures.mesh import gateway_mesh
from fixtures.nats import NatsProcess

BODY = b'{"model":"fake/chat","messages":[{"role":"user","content":"hello"}]}'
CHAT = "/v1/chat/completions"


@pytest.fixture
async def http(nats_server: NatsProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        gateway_mesh(nats_server) as mesh,
        aiohttp.ClientSession(mesh.url, skip_auto_headers=["content-type"]) as http,
    ):
        yield http


async def send(http: aiohttp.ClientSession, headers: dict[str, str], path: str = CHAT) -> tuple[int, str]:
    async with http.post(path, data=BODY, headers=headers) as response:
        answer = await response.json()
        return response.status, (answer.get("error") or {}).get("code", "")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
@pytest.mark.parametrize("path", [CHAT, "/v1/management/engines", "/v1/nothing"])
async def test_a_page_of_another_site_posts_nothing_without_a_json_type(
    http: aiohttp.ClientSession, origin: str, content_type: str | None, path: str
) -> None:
    headers = {"origin": origin, **({"content-type": content_type} if content_type else {})}
    assert await send(http, headers, path) == (403, "cross_origin")


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
async def test_json_is_asked_about_by_the_browser_and_taken_here(
    http: aiohttp.ClientSession, content_type: str
) -> None:
    assert await send(http, {"origin": "http://page.example", "content-type": content_type}) == (200, "")


async def test_a_client_that_is_no_browser_needs_no_type(http: aiohttp.ClientSession) -> None:
    assert await send(http, {}) == (200, "")


async def test_a_page_of_the_gateways_own_needs_none_either(http: aiohttp.ClientSession) -> None:
    assert await send(http, {"origin": str(http._base_url).rstrip("/")}) == (200, "")


async def test_with_keys_the_key_decides(nats_server: NatsProcess) -> None:
    async with (
        gateway_mesh(nats_server, api_keys={"k": "acme"}) as mesh,
        aiohttp.ClientSession(mesh.url, skip_auto_headers=["content-type"]) as http,
    ):
        page = {"origin": "http://evil.example"}
        assert await send(http, page) == (401, "invalid_api_key")
        assert await send(http, {**page, "authorization": "Bearer k"}) == (200, "")
