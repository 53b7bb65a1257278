"""What the client does before anything is sent, and how it finds its target."""

from __future__ import annotations

import asyncio
import inspect
import socket
import subprocess
import sys
import time
from contextlib import AbstractAsyncContextManager
from typing import Any

import numpy as np
import orjson
import pytest
from fixtures.mesh import gateway_mesh
from fixtures.nats import NatsProcess

from sage_client.client import AsyncUnifiedInferenceClient, CallOptions
from sage_client.headers import ResponseMetadata
from sage_client.models import ModelInfo, model_from_json, model_to_json
from sage_client.results import EmbeddingResult, RankedDocument, RerankResult, TextPiece, read_chat_result
from sage_client.sync_client import UnifiedInferenceClient
from sage_client.transport import Answer, StreamAnswer, VectorAnswer
from sage_common.errors import ConfigurationError, EngineFailedError, InvalidRequestError, UnavailableError
from sage_control_plane.request.request import Endpoint, RequestKind
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.reply import TokenUsage


class RecordingTransport:
    """Answers every call with one chat answer."""

    def __init__(self) -> None:
        self.requests: list[InferenceRequest] = []

    async def fetch(self, request: InferenceRequest) -> Answer:
        self.requests.append(request)
        body = b'{"model":"m","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}'
        return Answer(body, ResponseMetadata(request.correlation_id or "req-0"))

    async def fetch_vectors(self, request: InferenceRequest) -> VectorAnswer:
        raise NotImplementedError

    def stream(self, request: InferenceRequest) -> AbstractAsyncContextManager[StreamAnswer]:
        raise NotImplementedError

    async def models(self) -> list[ModelInfo]:
        return []

    async def engines(self) -> list[dict[str, Any]]:
        return []

    async def close(self) -> None:
        pass


async def test_a_string_is_one_message_and_what_is_none_is_left_out() -> None:
    transport = RecordingTransport()
    client = AsyncUnifiedInferenceClient(transport, tenant="acme", timeout_seconds=9)
    await client.chat("hello", max_tokens=None, temperature=0)
    (request,) = transport.requests
    assert orjson.loads(request.body) == {
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0,
        "stream": False,
    }
    assert (request.endpoint, request.tenant, request.timeout_seconds) == (Endpoint.CHAT_COMPLETIONS, "acme", 9)


async def test_options_of_a_call_win_over_the_clients_own() -> None:
    transport = RecordingTransport()
    client = AsyncUnifiedInferenceClient(transport, tenant="acme")
    await client.chat("x", options=CallOptions(tenant="other", timeout_seconds=1, request_id="mine"))
    (request,) = transport.requests
    assert (request.tenant, request.timeout_seconds, request.correlation_id) == ("other", 1, "mine")


async def test_a_call_without_an_id_leaves_it_to_the_mesh() -> None:
    transport = RecordingTransport()
    await AsyncUnifiedInferenceClient(transport).chat("x")
    assert [request.correlation_id for request in transport.requests] == [None]


async def test_what_is_not_json_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidRequestError, match="not JSON"):
        await AsyncUnifiedInferenceClient(RecordingTransport()).chat("x", stop={1, 2})


@pytest.mark.parametrize("target", ["localhost:8888", "ftp://x", "/tmp/socket"])
async def test_a_target_that_is_no_gateway_and_no_ring_is_refused(target: str) -> None:
    with pytest.raises(ConfigurationError, match=r"http://host:8888.*nats://host:4222"):
        await AsyncUnifiedInferenceClient.create(target)


async def test_a_key_for_the_ring_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="api_key"):
        await AsyncUnifiedInferenceClient.create("nats://127.0.0.1:1", api_key="k")


async def test_a_gateway_that_is_not_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_CLIENT_TARGET", f"http://127.0.0.1:{closed_port()}")
    async with await AsyncUnifiedInferenceClient.create() as client:
        with pytest.raises(UnavailableError, match=r"\(Connection refused\); `sage up` starts one") as error:
            await client.chat("x")
    assert error.value.code == "gateway_unreachable"


async def test_a_ring_that_is_not_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_NATS_CONNECT_TIMEOUT_SECONDS", "0.1")
    with pytest.raises(UnavailableError, match="no NATS server answers"):
        await AsyncUnifiedInferenceClient.create(f"nats://127.0.0.1:{closed_port()}")


def test_the_synchronous_client_works_without_a_loop_and_closes_twice() -> None:
    with UnifiedInferenceClient.create(f"http://127.0.0.1:{closed_port()}") as client:
        with pytest.raises(UnavailableError):
            client.chat("x")
        client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.chat("x")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{"message":null}]}'])
def test_an_answer_that_is_no_completion_is_the_engines_failure(body: bytes) -> None:
    with pytest.raises(EngineFailedError, match="not an OpenAI completion"):
        read_chat_result(body, ResponseMetadata())


def test_an_answer_of_tool_calls_has_no_text() -> None:
    result = read_chat_result(b'{"choices":[{"message":{"content":null,"tool_calls":[{}]}}]}', ResponseMetadata())
    assert (result.text, str(result), len(result.raw["choices"][0]["message"]["tool_calls"])) == ("", "", 1)


def test_a_model_comes_back_as_it_went() -> None:
    model = ModelInfo("m", (RequestKind.LLM_CHAT,), ("alias",), 2048, 384, "me", "what it is", "main")
    assert model_from_json(model_to_json(model, 1)) == model
    assert model_from_json({"id": "x"}).kinds == ()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("method", "given", "nearest"),
    [
        ("chat", "max_token", "max_tokens"),
        ("stream_chat", "temprature", "temperature"),
        ("generate", "sufix", "suffix"),
        ("embed", "dimension_", "did you mean|known"),
        ("rerank", "return_document", "return_documents"),
    ],
)
async def test_an_unknown_keyword_is_refused_with_the_nearest_name(method: str, given: str, nearest: str) -> None:
    transport = RecordingTransport()
    client = AsyncUnifiedInferenceClient(transport)
    arguments: tuple[object, ...] = ("query", ["document"]) if method == "rerank" else ("x",)

    async def call() -> None:
        answer = getattr(client, method)(*arguments, **{given: 1})
        if inspect.isawaitable(answer):
            await answer

    with pytest.raises(InvalidRequestError, match=nearest) as failure:
        await call()
    assert (failure.value.code, failure.value.param) == ("unknown_parameter", given)
    assert transport.requests == []


async def test_what_one_engine_knows_goes_into_extra_body() -> None:
    transport = RecordingTransport()
    await AsyncUnifiedInferenceClient(transport).chat("x", extra_body={"mirostat": 2}, top_k=5)
    body = orjson.loads(transport.requests[0].body)
    assert (body["mirostat"], body["top_k"], "extra_body" in body) == (2, 5, False)


async def test_reprs_are_one_short_line() -> None:
    body = orjson.dumps({"model": "m", "choices": [{"message": {"content": "word " * 500}, "finish_reason": "stop"}]})
    result = read_chat_result(body, ResponseMetadata())
    piece = TextPiece("word " * 500, "stop")
    vectors = EmbeddingResult(np.zeros((3, 384), np.float32), "minilm", TokenUsage())
    ranked = RerankResult(
        tuple(RankedDocument(n, 0.5, "text" * 99) for n in range(50)), TokenUsage(), "m", ResponseMetadata()
    )
    models = ModelInfo("m", description="long " * 99)
    client = AsyncUnifiedInferenceClient(RecordingTransport(), target="http://h:8888")
    for value in (result, piece, vectors, ranked, models, client):
        assert type(value).__name__ in repr(value)
        assert len(repr(value)) < 160
    assert "3 × 384" in repr(vectors)


@pytest.mark.parametrize("silent", [False, True])
def test_a_ring_without_nats_is_a_clear_error_within_two_seconds(silent: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1] if silent else closed_port()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=f"no NATS server answers at nats://127.0.0.1:{port}") as failure:
            UnifiedInferenceClient.create(f"nats://127.0.0.1:{port}")
        # Two seconds, and what an overloaded machine adds.
        assert time.monotonic() - began < 4
    assert failure.value.code == "nats_unreachable"


FORGOTTEN = """
import asyncio, sage
client = sage.UnifiedInferenceClient.create({target!r})
try:
    client.chat("x")
except sage.SageError as error:
    print(error.code)
again = sage.UnifiedInferenceClient.create({target!r})
del again
async def main():
    client = await sage.AsyncUnifiedInferenceClient.create({target!r})
    try:
        await client.chat("x")
    except sage.SageError:
        pass
asyncio.run(main())
"""


def test_clients_that_nobody_closes_end_without_a_word() -> None:
    script = FORGOTTEN.format(target=f"http://127.0.0.1:{closed_port()}")
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert (answer.stdout.split(), answer.stderr) == (["gateway_unreachable"], "")


UNFINISHED = """
import sage
client = sage.UnifiedInferenceClient.create({target!r})
pieces = client.stream_chat("x")
print(next(pieces).text)
"""


@pytest.mark.parametrize("scheme", ["http", "nats"])
async def test_a_stream_that_nobody_finishes_ends_without_a_word(scheme: str, nats_server: NatsProcess) -> None:
    async with gateway_mesh(nats_server) as mesh:
        target = mesh.url if scheme == "http" else nats_server.url
        command = [sys.executable, "-W", "error", "-c", UNFINISHED.format(target=target)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err.decode()) == (0, "")
    assert out.strip()
