"""Bad input gets the right OpenAI error, never a 500 or a time-out."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest

from sage_benchmark.isolated_mesh import IsolatedMesh

USER = [{"role": "user", "content": "hi"}]
MEGABYTE = 1024 * 1024


def send(
    mesh: IsolatedMesh, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], dict[str, object]]:
    parts = urlsplit(mesh.gateway_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        content = json.loads(response.read() or b"{}")
        return response.status, {k.lower(): v for k, v in response.getheaders()}, content
    finally:
        connection.close()


def chat(**fields: object) -> bytes:
    return json.dumps({"model": "sage-extractive", "messages": USER, **fields}).encode()


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/chat/completions", b"", 400, "empty_body"),
        ("/v1/chat/completions", b"{", 400, "invalid_json"),
        ("/v1/chat/completions", b"[1]", 400, "invalid_json"),
        ("/v1/chat/completions", chat(model="nope"), 404, "model_not_found"),
        ("/v1/chat/completions", chat(model="minilm"), 400, "wrong_endpoint_for_model"),
        ("/v1/chat/completions", chat(messages="hi"), 400, "invalid_type"),
        ("/v1/chat/completions", chat(stream="yes"), 400, "invalid_type"),
        ("/v1/completions", b'{"model":"sage-extractive","prompt":7}', 400, "invalid_type"),
        ("/v1/embeddings", b'{"model":"sage-extractive","input":"x"}', 400, "wrong_endpoint_for_model"),
        ("/v1/embeddings", b'{"model":"minilm","input":""}', 400, "empty_input"),
        ("/v1/embeddings", b'{"model":"minilm","input":[]}', 400, "empty_input"),
        ("/v1/embeddings", b'{"model":"minilm","input":["a",""]}', 400, "empty_input"),
        ("/v1/embeddings", b'{"model":"minilm","input":[99999999]}', 400, None),
        ("/v1/embeddings", b'{"model":"minilm","input":{"a":1}}', 400, "invalid_type"),
        ("/v1/embeddings", b'{"model":"minilm","input":"x","encoding_format":"hex"}', 400, "invalid_type"),
        ("/v1/embeddings", b'{"model":"minilm","input":"x","dimensions":100000}', 400, None),
    ],
)
def test_a_bad_body_is_refused_in_openais_form(
    mesh: IsolatedMesh, path: str, body: bytes, status: int, code: str | None
) -> None:
    got, headers, content = send(mesh, "POST", path, body)
    assert got == status, content
    error = content["error"]
    assert isinstance(error, dict)
    assert set(error) >= {"message", "type", "param", "code"}
    assert error["message"]
    if code is not None:
        assert error["code"] == code
    assert headers["x-request-id"]


def test_a_body_over_the_limit_is_413(mesh: IsolatedMesh) -> None:
    status, _, content = send(mesh, "POST", "/v1/chat/completions", chat(padding="x y " * (3 * MEGABYTE)))
    assert status == 413, content


def test_a_body_just_under_the_limit_is_answered(mesh: IsolatedMesh) -> None:
    status, _, content = send(mesh, "POST", "/v1/chat/completions", chat(padding="x" * (7 * MEGABYTE)))
    assert status == 200, content


def test_another_media_type_is_415(mesh: IsolatedMesh) -> None:
    status, _, content = send(mesh, "POST", "/v1/chat/completions", b"a=b", {"Content-Type": "text/xml"})
    assert status == 415, content


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("GET", "/v1/chat/completions", 405), ("GET", "/v1/models/nope", 404)],
)
def test_wrong_paths_and_methods_answer_in_openais_form(
    mesh: IsolatedMesh, method: str, path: str, status: int
) -> None:
    got, _, content = send(mesh, method, path)
    assert got == status
    assert isinstance(content["error"], dict)


@pytest.mark.parametrize(
    ("header", "value"),
    [("X-Request-Priority", "urgent"), ("X-SLO-Deadline-Ms", "soon"), ("X-SLO-TTFT-Ms", "-1")],
)
def test_a_bad_header_is_named(mesh: IsolatedMesh, header: str, value: str) -> None:
    status, _, content = send(mesh, "POST", "/v1/chat/completions", chat(), {header: value})
    assert status == 400
    assert header.lower() in str(content["error"]).lower()


def test_health_ready_metrics_and_management_answer(mesh: IsolatedMesh) -> None:
    assert send(mesh, "GET", "/health")[0] == 200
    assert send(mesh, "GET", "/ready")[0] == 200
    status, _, content = send(mesh, "GET", "/v1/management/engines")
    assert status == 200
    assert len(json.dumps(content)) > 100
    assert send(mesh, "GET", "/v1/management/status")[0] == 200
