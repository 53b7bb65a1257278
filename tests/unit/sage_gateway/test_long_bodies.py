"""Bodies that fit no message: their long parts reach the engine, and nothing of them stays."""

from __future__ import annotations

import asyncio
import base64
import io
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from fixtures.engines import CHAT_MODEL
from fixtures.eventually import eventually
from fixtures.mesh import Mesh, gateway_mesh
from fixtures.nats import start_nats
from fixtures.scripted_chat import MODEL, ScriptedChat
from nats.js.errors import NotFoundError

from sage_common.errors import TooLargeError, UnavailableError
from sage_control_plane.request.request import Endpoint
from sage_gateway.long_bodies import MOST_WAITING, STORED_AT_ONCE, LongBodies
from sage_mesh.bodies.body_store import LIFETIME_SECONDS, BodyStore
from sage_mesh.inference_request import InferenceRequest

INLINE_BYTES = 100_000
STORE_BYTES = 2 * 1024 * 1024


@pytest.fixture(scope="module")
def images() -> list[str]:
    return [base64.b64encode(random.Random(seed).randbytes(300_000)).decode() for seed in range(2)]


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """A gateway on a NATS server of its own: the store is there once."""
    nats = start_nats(tmp_path)
    try:
        async with gateway_mesh(nats, inline_body_bytes=INLINE_BYTES, long_bodies_bytes=STORE_BYTES) as mesh:
            yield mesh
    finally:
        nats.stop()


def chat(*texts: str, end: str = "", **fields: Any) -> bytes:
    said = [{"role": "user", "content": text} for text in texts]
    said.append({"role": "user", "content": f"look {end}"})
    return orjson.dumps({"model": CHAT_MODEL, "messages": said, **fields})


async def post(mesh: Mesh, body: bytes, path: str = "/v1/chat/completions") -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession(mesh.url, headers={"content-type": "application/json"}) as http,
        http.post(path, data=io.BytesIO(body)) as answer,
    ):
        return answer.status, orjson.loads(await answer.read())


async def is_empty(mesh: Mesh) -> bool:
    try:
        info = await mesh.ring.connection.jetstream().stream_info("OBJ_bodies", subjects_filter="$O.bodies.C.>")
    except NotFoundError:
        return True
    assert info.config.max_age == LIFETIME_SECONDS
    return not info.state.subjects


async def test_long_parts_reach_the_engine_byte_for_byte_and_are_removed(mesh: Mesh, images: list[str]) -> None:
    body = chat(*images, user="x")
    status, answer = await post(mesh, body)
    assert status == 200, answer
    assert mesh.engine.jobs[-1].whole_body == body
    await eventually(lambda: is_empty(mesh))


@pytest.mark.parametrize("end", ["refuse", "break"])
async def test_parts_of_a_request_that_fails_are_removed(mesh: Mesh, images: list[str], end: str) -> None:
    status, _ = await post(mesh, chat(images[0], end=end))
    assert status in (422, 502)
    await eventually(lambda: is_empty(mesh))


async def test_parts_of_a_client_that_goes_away_are_removed(mesh: Mesh, images: list[str]) -> None:
    async with aiohttp.ClientSession(mesh.url) as http:
        with pytest.raises(TimeoutError):
            await http.post(
                "/v1/chat/completions",
                data=chat(images[0], end="stall"),
                headers={"content-type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=0.5),
            )
    assert mesh.engine.jobs
    await eventually(lambda: is_empty(mesh))


async def test_a_full_store_is_said_with_when_to_try_again_and_leaves_room_for_others(
    mesh: Mesh, images: list[str]
) -> None:
    status, answer = await post(mesh, chat(images[0] * 8))
    assert (status, answer["error"]["code"]) == (503, "body_store_full")
    assert answer["error"]["type"] == "server_error"
    await eventually(lambda: is_empty(mesh))
    assert (await post(mesh, chat(images[0])))[0] == 200


async def test_a_long_body_of_text_is_refused_by_its_length(mesh: Mesh) -> None:
    status, answer = await post(mesh, chat("so much " * 20_000))
    assert (status, answer["error"]["code"]) == (413, "request_too_large")
    assert "without its images" in answer["error"]["message"]
    assert str(INLINE_BYTES) in answer["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
async def test_images_of_the_other_apis_go_the_same_way(tmp_path: Path, images: list[str], path: str) -> None:
    url = f"data:image/png;base64,{images[0]}"
    source = {"type": "base64", "media_type": "image/png", "data": images[0]}
    bodies = {
        "/v1/messages": {
            "max_tokens": 5,
            "messages": [{"role": "user", "content": [{"type": "image", "source": source}]}],
        },
        "/v1/responses": {
            "store": False,
            "input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}],
        },
    }
    nats = start_nats(tmp_path)
    try:
        async with gateway_mesh(nats, engines=False, inline_body_bytes=INLINE_BYTES) as mesh:
            engine = ScriptedChat()
            await mesh.host(engine)
            await mesh.dispatch_to(engine.spec.engine_id)
            status, answer = await post(mesh, orjson.dumps({"model": MODEL, **bodies[path]}), path)
            assert status == 200, answer
            assert engine.body["messages"][0]["content"][0]["image_url"]["url"] == url
            await eventually(lambda: is_empty(mesh))
    finally:
        nats.stop()


async def test_parts_that_are_gone_are_said_to_be(
    mesh: Mesh, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(self: BodyStore, object_id: str, parts: bytes, lifetime_seconds: float) -> None:
        """As JetStream does with what is older than an hour."""

    await BodyStore(mesh.ring.connection.jetstream(), STORE_BYTES).write("another", b"x")
    monkeypatch.setattr(BodyStore, "write", lose)
    status, answer = await post(mesh, chat(images[0]))
    assert status == 502
    assert "a part of the body is gone" in answer["error"]["message"]


async def test_a_body_that_too_many_others_wait_before_is_refused_and_room_is_made_by_their_ends() -> None:
    stalled, tried = asyncio.Event(), 0

    class Stalled:
        async def write(self, object_id: str, parts: bytes, lifetime_seconds: float) -> None:
            nonlocal tried
            tried += 1
            await stalled.wait()
            raise TooLargeError("full")

        async def remove(self, object_id: str) -> None:
            pass

    bodies = LongBodies(None, Stalled(), 1000)  # type: ignore[arg-type]
    image = base64.b64encode(bytes(60_000)).decode()
    request = InferenceRequest(None, Endpoint.CHAT_COMPLETIONS, orjson.dumps({"url": f"data:image/png;base64,{image}"}))
    most = STORED_AT_ONCE + MOST_WAITING
    waiting = [asyncio.create_task(bodies.submit(request)) for _ in range(most)]
    await eventually(lambda: tried == STORED_AT_ONCE)
    with pytest.raises(UnavailableError, match=f"{most} other bodies") as refused:
        await bodies.submit(request)
    error = refused.value
    assert (error.code, error.retry_after_seconds, error.retryable) == ("too_many_long_bodies", 1, True)
    stalled.set()
    await asyncio.wait(waiting)
    assert tried == most
    with pytest.raises(TooLargeError):
        await bodies.submit(request)
    assert all(isinstance(task.exception(), TooLargeError) for task in waiting)
