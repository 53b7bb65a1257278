"""HTTPS at the front: whose certificate is taken, and how a renewed one comes into use."""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sage_client.http import HttpTransport
from sage_common.errors import ConfigurationError, UnavailableError
from sage_gateway.asgi import JSON, Receive, Scope, Send, send_whole
from sage_gateway.config import GatewaySettings
from sage_gateway.connection_limit import ConnectionLimit
from sage_gateway.front_certificate import FrontCertificate, front_certificate
from sage_gateway.http_server import HttpServer
from sage_platform.mesh_tls.secured_folder import SecuredFolder

NOW = datetime.datetime.now(datetime.timezone.utc)


async def models(scope: Scope, receive: Receive, send: Send) -> None:
    await send_whole(send, 200, [JSON], b'{"data":[{"id":"m","object":"model"}]}')


@pytest.fixture
def folder(tmp_path: Path) -> SecuredFolder:
    secured = SecuredFolder(tmp_path / "tls", NOW)
    secured.secure()
    return secured


def front(folder: SecuredFolder) -> FrontCertificate:
    made = front_certificate(GatewaySettings(https=True), folder.identity("gateway"))
    assert made is not None
    return made


@asynccontextmanager
async def serving(
    context: ssl.SSLContext | None, host: str = "127.0.0.1", limit: ConnectionLimit | None = None
) -> AsyncIterator[int]:
    server = HttpServer(models, keep_alive_seconds=5, drain_timeout_seconds=0, context=context, limit=limit)
    port = await server.start(host, 0, setting="X")
    try:
        yield port
    finally:
        await server.stop()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(url)
    try:
        yield transport
    finally:
        await transport.close()


async def test_a_client_that_trusts_the_authority_is_answered(
    folder: SecuredFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGE_CLIENT_CA_FILE", str(tmp_path / "tls" / "ca.pem"))
    async with serving(front(folder).context()) as port, client(f"https://localhost:{port}") as asked:
        assert [model.id for model in await asked.models()] == ["m"]


async def test_a_client_that_does_not_trust_the_authority_says_so(folder: SecuredFolder) -> None:
    async with serving(front(folder).context()) as port, client(f"https://localhost:{port}") as asked:
        with pytest.raises(UnavailableError, match=r"certificate .* is not accepted: .*SAGE_CLIENT_CA_FILE") as caught:
            await asked.models()
    assert caught.value.code == "certificate_refused"
    assert not caught.value.retryable


async def test_a_certificate_for_another_host_is_refused_with_the_remedy(
    folder: SecuredFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGE_CLIENT_CA_FILE", str(tmp_path / "tls" / "ca.pem"))
    async with serving(front(folder).context(), "127.0.0.2") as port, client(f"https://127.0.0.2:{port}") as asked:
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.2.*not accepted: IP address mismatch.*--host NAME"):
            await asked.models()


async def test_a_renewed_certificate_is_served_to_the_next_connection(folder: SecuredFolder, tmp_path: Path) -> None:
    certificate = front(folder)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "tls" / "ca.pem"))

    async def served(port: int) -> bytes:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return shown

    async with serving(certificate.context()) as port:
        before = await served(port)
        assert await served(port) == before
        folder.secure(renew=True)
        assert await served(port) != before


async def test_a_certificate_that_became_unreadable_leaves_the_last_one_in_use(
    folder: SecuredFolder, tmp_path: Path
) -> None:
    certificate = front(folder)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "tls" / "ca.pem"))
    (folder.identity("gateway") / "front.pem").write_text("no certificate")
    async with serving(certificate.context()) as port:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"https": True}, "sage mesh secure"),
        ({"tls_certificate_file": "/x.pem"}, "SAGE_GATEWAY_TLS_KEY_FILE is not set"),
        ({"tls_key_file": "/x.pem"}, "SAGE_GATEWAY_TLS_CERTIFICATE_FILE is not set"),
        ({"tls_certificate_file": "/no/x.pem", "tls_key_file": "/no/y.pem"}, "No such file"),
    ],
)
def test_https_without_a_certificate_says_what_is_missing(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        front_certificate(GatewaySettings(**settings), None)  # type: ignore[arg-type]


async def test_one_connection_too_many_is_refused_in_the_shape_of_the_api_and_makes_room_when_it_ends() -> None:
    async with serving(None, limit=ConnectionLimit(most=2)) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in held:
            # An answer says that the server knows of the connection.
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        for reader, _ in held:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable")
        assert json.loads(body)["error"]["code"] == "too_many_connections"
        writer.close()
        held[0][1].close()
        await held[0][1].wait_closed()
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            line = await reader.readline()
            writer.close()
            if line.startswith(b"HTTP/1.1 200"):
                break
        held[1][1].close()


def test_one_address_cannot_take_the_connections_of_all() -> None:
    limit = ConnectionLimit(most=10, most_per_address=2)
    assert [limit.opened("a") for _ in range(2)] == [None, None]
    assert "the limit for one address" in str(limit.opened("a"))
    assert limit.opened("b") is None
    limit.closed("a")
    limit.closed("a")
    assert limit.opened("a") is None


async def test_what_is_not_http_over_tls_is_answered_with_an_error(folder: SecuredFolder, tmp_path: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(tmp_path / "tls" / "ca.pem"))
    async with serving(front(folder).context()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
        writer.write(b"no http at all\r\n\r\n")
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 400")
        writer.close()
