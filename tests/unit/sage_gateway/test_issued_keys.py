"""Issued API keys at the gateway: what their holders get, and what they get no more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
from fixtures.engines import CHAT_MODEL
from fixtures.eventually import eventually
from fixtures.mesh import gateway_mesh
from fixtures.nats import NatsProcess

from sage_common.api_keys import ApiKeys
from sage_common.errors import SageError
from sage_common.issued_keys import IssuedKey, key_digest
from sage_control_plane.request.request import Endpoint
from sage_gateway.answers_by_key import AnswersByKey
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.reply import Reply

HELD = {"authorization": "Bearer sage-held"}
OTHER = {"authorization": "Bearer sage-other"}
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


@pytest.mark.parametrize(
    ("ending", "code"), [({"revoked_at": 1.0}, "key_revoked"), ({"expires_at": 1.0}, "key_expired")]
)
async def test_a_key_that_ends_while_its_request_is_let_in_ends_the_answer_that_comes_after(
    nats_server: NatsProcess, ending: dict[str, float], code: str
) -> None:
    keys = issued_keys()
    async with (
        gateway_mesh(nats_server, keys=keys) as mesh,
        aiohttp.ClientSession(mesh.url, headers=HELD) as http,
    ):

        async def body() -> AsyncIterator[bytes]:
            """What is asked for by 100 Continue, after the look at the key."""
            keys.set_issued([IssuedKey("held", key_digest("sage-held"), "acme", **ending)])
            mesh.answers.end("held")
            yield orjson.dumps({**BODY, "stream": True})

        headers = {"content-type": "application/json"}
        async with http.post("/v1/chat/completions", data=body(), headers=headers, expect100=True) as response:
            error = orjson.loads(await asyncio.wait_for(response.read(), 5))["error"]
    assert (response.status, error["code"]) == (401, code)


async def test_a_key_whose_time_ends_in_mid_stream_ends_it(nats_server: NatsProcess) -> None:
    now = 100.0
    keys = ApiKeys({}, now=lambda: now)
    keys.set_issued([IssuedKey("held", key_digest("sage-held"), "acme", expires_at=101.0)])
    async with (
        gateway_mesh(nats_server, keys=keys) as mesh,
        aiohttp.ClientSession(mesh.url, headers=HELD) as http,
        http.post("/v1/chat/completions", json={**BODY, "stream": True}) as response,
    ):
        await asyncio.wait_for(response.content.readuntil(b"FIRST"), 5)
        mesh.answers.end_invalid()
        now = 101.0
        mesh.answers.end_invalid()
        rest = (await asyncio.wait_for(response.content.read(), 5)).decode()
    assert "the API key has expired while its answer was written" in rest


async def test_what_is_submitted_beside_the_http_api_ends_with_its_key_too() -> None:
    stopped: list[SageError] = []
    keys = issued_keys()
    answers = AnswersByKey(keys.ended_because)
    reply = Reply("r", stopped.append)

    async def submit(request: InferenceRequest) -> Reply:
        return reply

    submitted = answers.held(submit)
    await submitted(InferenceRequest(None, Endpoint.CHAT_COMPLETIONS, b"{}", key_id="held"))
    await eventually(lambda: "held" in answers.key_ids())
    keys.set_issued([])
    answers.end_invalid()
    assert [error.code for error in stopped] == ["key_revoked"]
    reply.fail(stopped[0])
    await eventually(lambda: not answers.key_ids())


async def test_the_streams_of_a_response_in_the_background_end_with_their_keys_and_the_response_goes_on(
    nats_server: NatsProcess,
) -> None:
    order = {"model": CHAT_MODEL, "input": "hello", "background": True, "stream": True}
    async with (
        gateway_mesh(nats_server, engines=False, keys=issued_keys()) as mesh,
        aiohttp.ClientSession(mesh.url) as http,
    ):
        assert mesh.responses is not None
        async with http.post("/v1/responses", json=order, headers=HELD) as response:
            began = (await asyncio.wait_for(response.content.readuntil(b"response.queued"), 5)).decode()
            mesh.answers.end("held")
            assert "the API key was revoked" in (await asyncio.wait_for(response.content.read(), 5)).decode()
        found = re.search(r"resp_[0-9a-f]{24}", began)
        assert found is not None
        path = f"/v1/responses/{found[0]}"
        async with http.get(path, params={"stream": "true"}, headers=OTHER) as response:
            await asyncio.wait_for(response.content.readuntil(b"response.queued"), 5)
            mesh.answers.end("other")
            assert "the API key was revoked" in (await asyncio.wait_for(response.content.read(), 5)).decode()
        assert (await mesh.responses.store.get("acme", found[0])).is_open
        await eventually(lambda: not mesh.answers.key_ids())
        async with http.delete(path, headers=OTHER) as response:
            assert response.status == 200


async def test_the_first_key_closes_a_gateway_that_runs(nats_server: NatsProcess) -> None:
    keys = ApiKeys({})
    async with gateway_mesh(nats_server, keys=keys) as mesh, aiohttp.ClientSession(mesh.url) as http:
        rebound = {"host": "evil.example"}
        async with http.get("/v1/models") as before, http.get("/v1/models", headers=rebound) as page:
            assert (before.status, page.status) == (200, 403)
        keys.set_issued([IssuedKey("held", key_digest("sage-held"), "acme")])
        async with http.get("/v1/models") as after, http.get("/v1/models", headers=HELD | rebound) as held:
            assert (after.status, held.status) == (401, 200)
