"""Images in a chat reach the engine as the caller wrote them, and the engine's answer, or refusal, the caller."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import nats
import pytest
from fixtures.eventually import eventually
from fixtures.process_mesh import process_mesh

from sage_benchmark.isolated_mesh import IsolatedMesh

MODEL = "sees"
IMAGE = base64.b64encode(random.Random(5).randbytes(300_000)).decode()
ANSWER = (
    b'{"id":"c","object":"chat.completion","model":"sees",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"a cat"},"finish_reason":"stop"}]}'
)
REFUSAL = b'{"error": {"message":"sees is not a multimodal model", "type":"BadRequestError","param":null,"code":400}}'
# Odd spaces, escapes and an unknown part: nothing that parsing and serialising JSON would leave as it is.
PARTS = (
    '[{"type": "text",  "text": "What is on it? \\u00e9 \\/"}, '
    '{"type":"image_url", "image_url" : {"url": "data:image\\/png;base64,' + IMAGE + '", "detail":"high"}},'
    '{"image_url":{"url":"https://example.com/a.png?x=1&y=%20"},"type":"image_url","uuid":"1e400"} ]'
).encode()
LEGACY = b'"n": 1, "x_serial": 123456789012345678901234567890, "temperature": 0.70'


class Recorder(ThreadingHTTPServer):
    """An engine that keeps the bodies it gets.

    Attributes:
        owner: what it calls itself in its list of models.
        refuses: whether it says that it cannot see.
    """

    def __init__(self, owner: str) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.owner = owner
        self.refuses = False
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Exchange(BaseHTTPRequestHandler):
    """One request to it."""

    server: Recorder
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        models = {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": self.server.owner}]}
        found = self.path in ("/v1/models", "/health")
        self._answer(200 if found else 404, json.dumps(models).encode())

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.refuses:
            self._answer(400, REFUSAL)
        elif json.loads(self.server.bodies[-1]).get("stream"):
            chunk = b'data: {"choices":[{"index":0,"delta":{"content":"a cat"},"finish_reason":"stop"}]}'
            self._answer(200, chunk + b"\n\ndata: [DONE]\n\n", "text/event-stream")
        else:
            self._answer(200, ANSWER)

    def _answer(self, status: int, body: bytes, media: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None: ...


@pytest.fixture(scope="module", params=["somebody", "vllm"])
def seeing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[IsolatedMesh, Recorder]]:
    recorder = Recorder(request.param)
    threading.Thread(target=recorder.serve_forever, daemon=True).start()
    try:
        with process_mesh(tmp_path_factory.mktemp("mesh"), llm=recorder.url) as mesh:
            yield mesh, recorder
    finally:
        recorder.shutdown()
        recorder.server_close()


def chat(mesh: IsolatedMesh, body: bytes) -> tuple[int, bytes]:
    request = urllib.request.Request(
        f"{mesh.gateway_url}/v1/chat/completions", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def body_with(extra: bytes = b"") -> bytes:
    messages = b'"messages" : [{"role":"user","content": ' + PARTS + b"}]"
    return b'{ "model":"sees", ' + messages + b", " + LEGACY + extra + b"}"


def ordered(body: bytes) -> Any:
    """A body as JSON whose keys have an order; what a caller wrote may be spaced and escaped in another way."""
    return json.loads(body, object_pairs_hook=list)


def test_the_body_reaches_the_engine_byte_for_byte(seeing: tuple[IsolatedMesh, Recorder]) -> None:
    mesh, recorder = seeing
    assert chat(mesh, body_with()) == (200, ANSWER)
    assert recorder.bodies[-1] == body_with()


@pytest.mark.parametrize("options", [b"", b', "stream_options": {"include_usage": true}'])
def test_a_streams_parts_reach_the_engine_as_they_are(seeing: tuple[IsolatedMesh, Recorder], options: bytes) -> None:
    """What SAGE asks a known server for beside is written after them."""
    mesh, recorder = seeing
    status, answer = chat(mesh, body_with(b', "stream": true' + options))
    assert (status, answer.count(b"a cat")) == (200, 1)
    original = ordered(body_with(b', "stream": true'))
    assert ordered(recorder.bodies[-1])[: len(original)] == original
    if recorder.owner == "somebody":
        assert recorder.bodies[-1] == body_with(b', "stream": true' + options)


def test_an_alias_changes_the_models_name_and_nothing_else(seeing: tuple[IsolatedMesh, Recorder]) -> None:
    mesh, recorder = seeing
    aliased = body_with().replace(b'"model":"sees"', b'"model":"default"')
    assert chat(mesh, aliased)[0] == 200
    assert ordered(recorder.bodies[-1]) == ordered(body_with())


def test_an_image_of_forty_megabytes_reaches_the_engine_whole_and_leaves_nothing(
    seeing: tuple[IsolatedMesh, Recorder],
) -> None:
    """It is longer than any message of the mesh, and goes beside them."""
    mesh, recorder = seeing
    url = b"data:image/png;base64," + base64.b64encode(random.Random(7).randbytes(30 * 1024 * 1024))
    body = body_with(b', "stream": true' if recorder.owner == "vllm" else b"")
    body = body.replace(b"https://example.com/a.png?x=1&y=%20", url)
    assert len(body) > 40_000_000
    status, answer = chat(mesh, body)
    assert status == 200, answer
    original = ordered(body)
    assert ordered(recorder.bodies.pop())[: len(original)] == original
    asyncio.run(nothing_stored(mesh))


def test_a_long_body_without_anything_to_leave_out_is_413(seeing: tuple[IsolatedMesh, Recorder]) -> None:
    mesh, _ = seeing
    status, answer = chat(mesh, body_with(b', "padding": "' + b"so much. " * 1_000_000 + b'"'))
    assert status == 413, answer
    assert json.loads(answer)["error"]["code"] == "request_too_large"


async def nothing_stored(mesh: IsolatedMesh) -> None:
    """Wait until nothing of a body is left in JetStream; whatever were left would go by its age."""
    connection = await nats.connect(mesh.nats_url)

    async def is_empty() -> bool:
        info = await connection.jetstream().stream_info("OBJ_bodies", subjects_filter="$O.bodies.C.>")
        assert info.config.max_age
        return not info.state.subjects

    try:
        await eventually(is_empty)
    finally:
        await connection.close()


def test_an_engine_that_cannot_see_says_so_in_its_own_words(seeing: tuple[IsolatedMesh, Recorder]) -> None:
    mesh, recorder = seeing
    recorder.refuses = True
    try:
        assert chat(mesh, body_with()) == (400, REFUSAL)
        assert chat(mesh, body_with(b', "stream": true')) == (400, REFUSAL)
    finally:
        recorder.refuses = False
