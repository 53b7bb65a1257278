"""What is no HTTP, or hardly, gets an answer in its API's shape or a closed connection, and soon."""

from __future__ import annotations

import asyncio
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from fixtures.vendor_errors import error_of

from sage_benchmark.isolated_mesh import IsolatedMesh

ANSWER_SECONDS = 15.0
BODY = b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":3}'


class RawAnswer(NamedTuple):
    """Bytes of an answer, read until the connection was closed."""

    status: int
    head: bytes
    body: bytes


async def exchange(
    mesh: IsolatedMesh, *pieces: bytes, pause: float = 0.0, half_close: bool = False
) -> RawAnswer | None:
    """Send bytes as they are; return the first answer, None where the connection is closed without one."""
    address = urlsplit(mesh.gateway_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if pause:
                # The pause is what is tested: a client that sends slowly.
                await asyncio.sleep(pause)
        if half_close:
            writer.write_eof()
        data = await asyncio.wait_for(reader.read(), ANSWER_SECONDS)
    except ConnectionError:
        return None
    finally:
        writer.close()
    if not data:
        return None
    head, _, body = data.partition(b"\r\n\r\n")
    return RawAnswer(int(head.split(b" ")[1]), head, body)


def post(key: str, path: str = "/v1/chat/completions", *lines: bytes, body: bytes = BODY, length: bool = True) -> bytes:
    head = [f"POST {path} HTTP/1.1".encode(), b"Host: 127.0.0.1", b"Connection: close"]
    head += [f"Authorization: Bearer {key}".encode(), b"Content-Type: application/json"]
    head += [b"Content-Length: %d" % len(body)] if length else []
    return b"\r\n".join([*head, *lines]) + b"\r\n\r\n" + body


def chunked(body: bytes, coding: bytes = b"chunked") -> bytes:
    return post("K", "P", b"Transfer-Encoding: " + coding, body=body, length=False)


MALFORMED: dict[str, bytes] = {
    "two lengths that differ": post("K", "P", b"Content-Length: 5"),
    "a length and chunks": post("K", "P", b"Transfer-Encoding: chunked"),
    "a negative length": post("K", "P", b"Content-Length: -1", length=False),
    "a length that is no number": post("K", "P", b"Content-Length: ten", length=False),
    "a length beyond 64 bits": post("K", "P", b"Content-Length: " + b"9" * 30, length=False),
    "chunks of rubbish": chunked(b"zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk longer than it says": chunked(b"2\r\n{}{}\r\n0\r\n\r\n"),
    "chunks inside chunks": chunked(b"2\r\n{}\r\n0\r\n\r\n", b"chunked, chunked"),
    "a header without a colon": post("K", "P", b"Nonsense"),
    "a blank before the colon": post("K", "P", b"X-Thing : 1"),
    "a header's value over two lines": post("K", "P", b"X-Thing: 1\r\n  2"),
    "a null byte in a header": post("K", "P", b"X-Thing: a\x00b"),
    "a bare line feed in a header": post("K", "P", b"X-Thing: a\nX-Other: b"),
    "two hosts": post("K", "P", b"Host: evil.example"),
    "two keys": post("K", "P", b"Authorization: Bearer other"),
    "a head without end": post("K", "P", b"X-Thing: " + b"a" * 200_000),
    "a path without end": post("K", "P" + "a" * 200_000),
    "a version of its own": post("K", "P").replace(b"HTTP/1.1", b"HTTP/7.9"),
    "a method of its own": post("K", "P").replace(b"POST", b"P\x01ST", 1),
}  # fmt: skip
NOT_HTTP: dict[str, bytes] = {
    "the greeting of TLS": bytes.fromhex("16030100a5010000a10303") + bytes(range(160)),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "JSON": BODY + b"\n" + BODY,
    "zeros": bytes(1000),
    "line ends": b"\r\n" * 1000,
    "no version": b"GET /v1/models\r\n\r\n",
    "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
}
ODD_PATHS = (
    "/%00", "/%zz", "/v1/../v1/models/..", "/v1/models/%ff%fe", "/v1//chat/completions", "/\xff", "*", "//",
    "/v1/files/%2e%2e%2f",
)  # fmt: skip
PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/management/jobs")


def aimed(raw: bytes, path: str, key: str) -> bytes:
    return raw.replace(b"POST P", b"POST " + path.encode(), 1).replace(b"Bearer K", b"Bearer " + key.encode(), 1)


async def test_what_is_hardly_http_is_refused_in_the_shape_of_its_path(
    rough_mesh: IsolatedMesh, operator_key: str
) -> None:
    cases = [(name, path, aimed(raw, path, operator_key)) for name, raw in MALFORMED.items() for path in PATHS]
    answers = await asyncio.gather(*(exchange(rough_mesh, raw, half_close=True) for _, _, raw in cases))
    for (name, path, _), answer in zip(cases, answers, strict=True):
        assert answer is not None, (name, path)
        assert 400 <= answer.status < 500, (name, path, answer)
        # Where the line that names the path is not understood, there is no path to go by.
        if name not in ("a method of its own", "a path without end"):
            error_of(path, answer.status, answer.body)


async def test_what_is_no_http_is_refused_or_cut_off(rough_mesh: IsolatedMesh) -> None:
    answers = await asyncio.gather(*(exchange(rough_mesh, raw, half_close=True) for raw in NOT_HTTP.values()))
    for name, answer in zip(NOT_HTTP, answers, strict=True):
        if answer is not None:
            assert 400 <= answer.status < 500, (name, answer)
            error_of("", answer.status, answer.body)


@pytest.mark.parametrize("path", PATHS)
async def test_who_sends_slowly_or_less_than_announced_is_cut_off(
    rough_mesh: IsolatedMesh, operator_key: str, path: str
) -> None:
    whole = aimed(post("K", "P"), path, operator_key)
    head_by_bytes = [whole[place : place + 1] for place in range(12)]
    silent, slow_head, half_body, half_body_open, bad_chunk = await asyncio.gather(
        exchange(rough_mesh),
        exchange(rough_mesh, *head_by_bytes, pause=0.1),
        exchange(rough_mesh, whole[:-10], half_close=True),
        exchange(rough_mesh, whole[:-10]),
        exchange(rough_mesh, aimed(chunked(b"ff\r\n{"), path, operator_key)),
    )
    assert silent is None
    assert slow_head is None
    assert half_body is None
    for answer in (half_body_open, bad_chunk):
        assert answer is not None
        assert answer.status == 400
        error = error_of(path, answer.status, answer.body)
        assert error.get("code", "body_timeout") == "body_timeout"


async def test_an_absolute_uri_is_the_path_in_it_and_odd_paths_are_not_found(
    rough_mesh: IsolatedMesh, operator_key: str
) -> None:
    absolute = await exchange(rough_mesh, aimed(post("K", "P"), "http://127.0.0.1/v1/chat/completions", operator_key))
    assert absolute is not None
    assert absolute.status == 200, absolute
    for path in ODD_PATHS:
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        raw = f"{head}Authorization: Bearer {operator_key}\r\n\r\n"
        answer = await exchange(rough_mesh, raw.encode("latin-1"))
        assert answer is not None, path
        assert answer.status in (400, 404, 405), (path, answer)
        error_of(path, answer.status, answer.body)


async def test_the_mesh_answers_after_all_that(rough_mesh: IsolatedMesh, operator_key: str) -> None:
    answer = await exchange(rough_mesh, aimed(post("K", "P"), PATHS[0], operator_key))
    assert answer is not None
    assert answer.status == 200
