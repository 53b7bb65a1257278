"""What vLLM answers is what the client of the mesh gets: equal as JSON, keys in their order, apart from the ids.

vLLM puts its ``system_fingerprint`` on the event with the usage and, only where that was not asked for, on each
choice's last. SAGE asks for every stream's usage, so there the fingerprint goes with the usage that the caller did not
ask for.

vLLM sends tokens together that its loop had no time to send one by one, so two runs of the same request may be cut
differently; each is asked for until both sides have cut one alike.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from typing import Any

import orjson
import pytest
from conftest import MODEL, PYTHON, VllmServer

from sage_benchmark.isolated_mesh import IsolatedMesh

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no vLLM at {PYTHON}; run tests/vllm/install.sh"),
]

RUNS = 12
MESSAGES = [{"role": "user", "content": "def main():"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}, "required": ["n"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
CHATS: dict[str, dict[str, Any]] = {
    "plain": {"temperature": 0},
    "seed": {"temperature": 1.0, "seed": 7},
    "stop": {"temperature": 0, "stop": [" ", "a"], "include_stop_str_in_output": True},
    "logprobs": {"temperature": 0, "logprobs": True, "top_logprobs": 2},
    "two": {"temperature": 1.0, "seed": 7, "n": 2},
    "json_schema": {"temperature": 0, "response_format": FORMAT, "ignore_eos": False, "max_tokens": 16},
    "tools": {"temperature": 0, "tools": [TOOL], "tool_choice": "auto"},
    "forced tool": {"temperature": 0, "tools": [TOOL], "tool_choice": "required", "max_tokens": 24},
    "tokens": {"temperature": 0, "return_token_ids": True},
}
COMPLETIONS: dict[str, dict[str, Any]] = {
    "plain": {"temperature": 0},
    "logprobs": {"temperature": 0, "logprobs": 1, "echo": True},
    "two prompts": {"temperature": 0, "prompt": ["import os", "class A:"]},
    "token ids": {"temperature": 0, "prompt": [300, 301, 302]},
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
SEEN = [{"type": "text", "text": "What is on it?"}, IMAGE]
STREAMS: dict[str, dict[str, Any]] = {
    "whole": {},
    "streamed": {"stream": True},
    "null options": {"stream": True, "stream_options": None},
    "usage": {"stream": True, "stream_options": {"include_usage": True}},
    "usage each": {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
}


def ask(url: str, path: str, body: dict[str, Any]) -> tuple[int, str]:
    request = urllib.request.Request(url + path, orjson.dumps(body), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            status, answer = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, answer = error.code, error.read()
    usage_wanted = (body.get("stream_options") or {}).get("include_usage")
    return status, comparable(answer, signed=not body.get("stream") or usage_wanted)


def comparable(answer: bytes, *, signed: bool) -> str:
    """The answer's JSON with its keys in their order, without what is new in every answer."""
    events = [data.removeprefix("data: ") for data in answer.decode().strip().split("\n\n")]
    text = "\n".join(event if event == "[DONE]" else json.dumps(json.loads(event)) for event in events)
    text = re.sub(r'"id": "(chatcmpl|cmpl)-[^"]*"', r'"id": "\1"', text)
    text = re.sub(r'"id": "(chatcmpl-tool-|call_)[^"]*"', '"id": "tool"', text)
    text = re.sub(r'"created": \d+', '"created": 0', text)
    return text if signed else re.sub(r', "system_fingerprint": "[^"]*"', "", text)


def assert_same(server: VllmServer, mesh: IsolatedMesh, path: str, body: dict[str, Any]) -> None:
    direct: set[tuple[int, str]] = set()
    through: set[tuple[int, str]] = set()
    for _ in range(RUNS):
        direct.add(ask(server.url, path, body))
        through.add(ask(mesh.gateway_url, path, body))
        if direct & through:
            return
    assert sorted(through)[0] == sorted(direct)[0]


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("kind", CHATS)
def test_a_chat_is_the_same(
    vllm_servers: tuple[VllmServer, VllmServer], mesh: IsolatedMesh, kind: str, stream: str
) -> None:
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 6, "ignore_eos": True, **CHATS[kind], **STREAMS[stream]}
    assert_same(vllm_servers[0], mesh, "/v1/chat/completions", body)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("kind", COMPLETIONS)
def test_a_completion_is_the_same(
    vllm_servers: tuple[VllmServer, VllmServer], mesh: IsolatedMesh, kind: str, stream: str
) -> None:
    body = {
        "model": MODEL,
        "prompt": "def main():",
        "max_tokens": 6,
        "ignore_eos": True,
        **COMPLETIONS[kind],
        **STREAMS[stream],
    }
    assert_same(vllm_servers[0], mesh, "/v1/completions", body)


@pytest.mark.parametrize("stream", [{}, {"stream": True}], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": "hot"},
        {"max_tokens": 100_000},
        {"response_format": {"type": "json_schema"}},
        {"messages": [{"role": "user", "content": SEEN}]},
    ],
    ids=["hot", "many", "no schema", "image"],
)
def test_vllms_own_refusal_is_the_clients(
    vllm_servers: tuple[VllmServer, VllmServer], mesh: IsolatedMesh, wrong: dict[str, Any], stream: dict[str, Any]
) -> None:
    """A model of text alone refuses an image, too."""
    body = {"model": MODEL, "messages": MESSAGES, **wrong, **stream}
    status, direct = ask(vllm_servers[0].url, "/v1/chat/completions", body)
    assert (status, bool(orjson.loads(direct)["error"]["message"])) == (400, True)
    assert ask(mesh.gateway_url, "/v1/chat/completions", body) == (status, direct)


def test_a_field_that_sage_needs_is_refused_by_sage_with_the_same_status_and_field(
    vllm_servers: tuple[VllmServer, VllmServer], mesh: IsolatedMesh
) -> None:
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": -1}
    for url in (vllm_servers[0].url, mesh.gateway_url):
        status, refusal = ask(url, "/v1/chat/completions", body)
        assert (status, orjson.loads(refusal)["error"]["param"]) == (400, "max_tokens")
