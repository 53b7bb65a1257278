"""Issued API keys at the gateway: what their holders get, and what they get no more."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest
from fixtures.engines import CHAT_MODEL
from fixtures.mesh import gateway_mesh
from fixtures.nats import NatsProcess

from sage_common.api_keys import ApiKeys
from sage_common.issued_keys import IssuedKey, key_digest

HELD = {"authorization": "Bearer sage-held"}
BODY = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "first wait"}]}


def issued_keys() -> ApiKeys:
    keys = ApiKeys({})
    keys.set_issued([IssuedKey(name, key_digest(f"sage-{name}"), "acme") for name in ("held", "other")])
    return keys


@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [
        ("/v1/chat/completions", BODY, "authentication_error"),
        ("/v1/messages", {**BODY, "max_tokens": 9}, "authentication_error"),
    ],
)
async def test_a_key_that_is_revoked_in_mid_stream_ends_the_stream_with_the_vendors_error(
    nats_server: NatsProcess, path: str, body: dict[str, Any], shape: str
) -> None:
    async with (
        gateway_mesh(nats_server, keys=issued_keys()) as mesh,
        aiohttp.ClientSession(mesh.url, headers=HELD) as http,
        http.post(path, json={**body, "stream": True}) as response,
    ):
        assert response.status == 200
        began = await asyncio.wait_for(response.content.readuntil(b"FIRST"), 5)
        mesh.answers.end("other")
        mesh.answers.end("held")
        rest = (await asyncio.wait_for(response.content.read(), 5)).decode()
        await asyncio.wait_for(mesh.engine.job_cancelled.wait(), 5)
    assert began
    assert (shape in rest, "the API key was revoked" in rest) == (True, True)
    assert mesh.answers._open == {}


async def test_a_key_that_is_revoked_before_the_answer_is_a_401(nats_server: NatsProcess) -> None:
    async with (
        gateway_mesh(nats_server, keys=issued_keys()) as mesh,
        aiohttp.ClientSession(mesh.url, headers=HELD) as http,
    ):
        body = {**BODY, "messages": [{"role": "user", "content": "please stall"}]}
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=body))
        await asyncio.wait_for(mesh.engine.job_arrived.wait(), 5)
        mesh.answers.end("held")
        async with await asking as response:
            error = orjson.loads(await response.read())["error"]
    assert (response.status, error["code"]) == (401, "key_revoked")


async def test_the_first_key_closes_a_gateway_that_runs(nats_server: NatsProcess) -> None:
    keys = ApiKeys({})
    async with gateway_mesh(nats_server, keys=keys) as mesh, aiohttp.ClientSession(mesh.url) as http:
        rebound = {"host": "evil.example"}
        async with http.get("/v1/models") as before, http.get("/v1/models", headers=rebound) as page:
            assert (before.status, page.status) == (200, 403)
        keys.set_issued([IssuedKey("held", key_digest("sage-held"), "acme")])
        async with http.get("/v1/models") as after, http.get("/v1/models", headers=HELD | rebound) as held:
            assert (after.status, held.status) == (401, 200)
