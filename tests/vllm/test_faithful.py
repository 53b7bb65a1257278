"""What vLLM answers is what the client of the mesh gets: the same bytes, apart from the ids.

vLLM sends tokens together that its loop had no time to send one by one, so two runs of the same request may be cut
differently; each is asked for until both sides have cut one alike.
"""

from __future__ import annotations

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
STREAMS: dict[str, dict[str, Any]] = {
    "whole": {},
    "streamed": {"stream": True},
    "null options": {"stream": True, "stream_options": None},
    "usage": {"stream": True, "stream_options": {"include_usage": True}},
    "usage each": {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
}


def ask(url: str, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
    request = urllib.request.Request(url + path, orjson.dumps(body), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, comparable(response.read())
    except urllib.error.HTTPError as error:
        return error.code, comparable(error.read())


def comparable(answer: bytes) -> bytes:
    """The answer without what is new in every one."""
    answer = re.sub(rb'"id":"(chatcmpl|cmpl)-[^"]*"', rb'"id":"\1"', answer)
    answer = re.sub(rb'"id":"(chatcmpl-tool-|call_)[^"]*"', rb'"id":"tool"', answer)
    return re.sub(rb'"created":\d+', b'"created":0', answer)


def assert_same(server: VllmServer, mesh: IsolatedMesh, path: str, body: dict[str, Any]) -> None:
    direct: set[tuple[int, bytes]] = set()
    through: set[tuple[int, bytes]] = set()
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


@pytest.mark.parametrize("wrong", [{"max_tokens": -1}, {"temperature": "hot"}, {"max_tokens": 100_000}])
def test_vllms_own_refusal_is_the_clients(
    vllm_servers: tuple[VllmServer, VllmServer], mesh: IsolatedMesh, wrong: dict[str, Any]
) -> None:
    body = {"model": MODEL, "messages": MESSAGES, **wrong}
    status, through = ask(mesh.gateway_url, "/v1/chat/completions", body)
    direct_status, direct = ask(vllm_servers[0].url, "/v1/chat/completions", body)
    assert status == direct_status == 400
    assert orjson.loads(through)["error"]["message"]
    assert orjson.loads(direct)["error"]["message"]
