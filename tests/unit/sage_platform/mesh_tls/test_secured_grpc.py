"""gRPC between services with certificates: who is let in, and how a renewed certificate comes into use."""

from __future__ import annotations

import asyncio
import datetime
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sage_common.errors import ConfigurationError
from sage_common.tls_settings import TlsFiles
from sage_platform.grpc_revocation import RevokedPeers
from sage_platform.grpc_server import ErrorInterceptor, GrpcServer, channel, channel_to
from sage_platform.grpc_tls import server_credentials
from sage_platform.mesh_tls.secured_folder import SecuredFolder
from sage_platform.probe import EXIT_NOT_WELL, EXIT_WELL, probe
from sage_platform.registry import Instance

NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secured")
    SecuredFolder(path, NOW).secure()
    return path


@pytest.fixture
def certificates(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "tls"))


@pytest.fixture
async def port(certificates: Path) -> AsyncIterator[int]:
    server = GrpcServer(tls=TlsFiles(certificates / "scheduler"))
    port = await server.start("127.0.0.1", 0, setting="X")
    await server.set_serving(True)
    yield port
    await server.stop(0)


async def ask(port: int, tls: TlsFiles | None, service: str = "scheduler") -> None:
    async with channel(f"127.0.0.1:{port}", tls=tls, service=service) as opened:
        await health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(), timeout=3)


@pytest.mark.parametrize("service", ["scheduler", "mesh"])
async def test_a_service_calls_another(port: int, certificates: Path, service: str) -> None:
    await ask(port, TlsFiles(certificates / "gateway"), service)


async def test_a_call_in_the_clear_is_refused(port: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(port, None)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_authority_is_refused(port: int, certificates: Path, tmp_path: Path) -> None:
    SecuredFolder(tmp_path / "other", NOW).secure()
    other = tmp_path / "other" / "gateway"
    # It trusts the server, so that it is the server that refuses.
    shutil.copy(certificates / "ca.pem", other / "ca.pem")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(port, TlsFiles(other))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_service_that_is_another_than_was_meant_is_not_called(port: int, certificates: Path) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(port, TlsFiles(certificates / "gateway"), "dataflow-worker")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "Hostname Verification Check failed" in str(caught.value.details())


async def test_a_renewed_certificate_is_shown_to_the_next_caller(port: int, certificates: Path) -> None:
    # The new authority knows nothing of the old certificates: only a server that has read again is trusted.
    shutil.rmtree(certificates)
    SecuredFolder(certificates, NOW).secure()
    await ask(port, TlsFiles(certificates / "gateway"))


async def test_an_instance_that_asks_for_a_certificate_is_named_to_who_has_none(port: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"scheduler at 127\.0\.0\.1:{port} .*SAGE_TLS_FOLDER"):
        channel_to(Instance("scheduler", "one", "127.0.0.1", 0, port, tls=True))


async def test_a_commands_own_certificate_is_taken_for_a_mesh_of_its_user(
    port: int, certificates: Path, tmp_path: Path
) -> None:
    shutil.copytree(certificates, tmp_path / "xdg" / "config" / "sage" / "tls")
    async with channel_to(Instance("scheduler", "one", "127.0.0.1", 0, port, tls=True)) as opened:
        await health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(), timeout=3)


async def test_a_probe_shows_the_certificate_that_is_set(
    port: int, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    assert await asyncio.to_thread(probe, [f"127.0.0.1:{port}"]) == EXIT_NOT_WELL
    monkeypatch.setenv("SAGE_TLS_FOLDER", str(certificates / "scheduler"))
    assert await asyncio.to_thread(probe, [f"127.0.0.1:{port}"]) == EXIT_WELL


async def test_a_revoked_certificate_is_refused_on_old_and_new_connections_and_its_successor_is_not(
    port: int, certificates: Path, tmp_path: Path
) -> None:
    stolen = Path(shutil.copytree(certificates / "gateway", tmp_path / "stolen"))
    request = health_pb2.HealthCheckRequest()
    async with channel(f"127.0.0.1:{port}", tls=TlsFiles(stolen), service="scheduler") as opened:
        await health_pb2_grpc.HealthStub(opened).Check(request, timeout=3)
        SecuredFolder(certificates, NOW).revoke("gateway")
        with pytest.raises(grpc.aio.AioRpcError, match="the certificate of gateway was revoked") as caught:
            await health_pb2_grpc.HealthStub(opened).Check(request, timeout=3)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        watching = health_pb2_grpc.HealthStub(opened).Watch(request, timeout=3)
        with pytest.raises(grpc.aio.AioRpcError, match="was revoked"):
            await watching.read()
    with pytest.raises(grpc.aio.AioRpcError, match="was revoked"):
        await ask(port, TlsFiles(stolen))
    await ask(port, TlsFiles(certificates / "gateway"))
    await ask(port, TlsFiles(certificates / "classifier"))
    # Whoever takes the list away from a server takes nothing from what it knows.
    (certificates / "scheduler" / "generations.json").unlink()
    with pytest.raises(grpc.aio.AioRpcError, match="was revoked"):
        await ask(port, TlsFiles(stolen))


class Talker(grpc.GenericRpcHandler):
    """Says one thing and then nothing more, in a stream or as its answer, or talks without end."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.ended = asyncio.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        made = {
            "/t/Stream": grpc.unary_stream_rpc_method_handler(self._stream),
            "/t/Both": grpc.stream_stream_rpc_method_handler(self._stream),
            "/t/Whole": grpc.unary_unary_rpc_method_handler(self._whole),
            "/t/Endless": grpc.unary_stream_rpc_method_handler(self._endless),
        }
        return made[handler_call_details.method]

    async def _stream(self, _request: Any, _context: Any) -> AsyncIterator[bytes]:
        yield b"one"
        await self._whole(_request, _context)

    async def _whole(self, _request: Any, _context: Any) -> bytes:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        return b""

    async def _endless(self, _request: Any, _context: Any) -> AsyncIterator[bytes]:
        self.asked.set()
        try:
            while True:
                yield bytes(100_000)
        finally:
            self.ended.set()


@pytest.fixture
async def talker(certificates: Path) -> AsyncIterator[tuple[Talker, int]]:
    tls, made = TlsFiles(certificates / "scheduler"), Talker()
    server = aio.server(interceptors=[ErrorInterceptor(), RevokedPeers(tls, look_seconds=0.02)])
    server.add_generic_rpc_handlers((made,))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(tls))
    await server.start()
    yield made, port
    await server.stop(0)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("method", ["Stream", "Both", "Whole"])
async def test_a_call_that_is_open_ends_when_its_peers_certificate_is_revoked(
    talker: tuple[Talker, int], certificates: Path, tmp_path: Path, method: str
) -> None:
    made, port = talker
    stolen = Path(shutil.copytree(certificates / "gateway", tmp_path / "stolen"))
    async with channel(f"127.0.0.1:{port}", tls=TlsFiles(stolen), service="scheduler") as opened:
        if method == "Whole":
            call = opened.unary_unary(f"/t/{method}")(b"")
        elif method == "Both":
            call = opened.stream_stream(f"/t/{method}")()
            await call.write(b"")
        else:
            call = opened.unary_stream(f"/t/{method}")(b"")
        await made.asked.wait()
        if method != "Whole":
            assert await call.read() == b"one"
        # Another's is not what ends it.
        SecuredFolder(certificates, NOW).revoke("classifier")
        SecuredFolder(certificates, NOW).revoke("gateway")
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "the certificate of gateway was revoked" in await call.details()
        await made.ended.wait()


@pytest.mark.timeout(10)
async def test_a_stream_that_nobody_reads_ends_when_its_peers_certificate_is_revoked(
    talker: tuple[Talker, int], certificates: Path, tmp_path: Path
) -> None:
    made, port = talker
    stolen = Path(shutil.copytree(certificates / "gateway", tmp_path / "stolen"))
    async with channel(f"127.0.0.1:{port}", tls=TlsFiles(stolen), service="scheduler") as opened:
        unread = opened.unary_stream("/t/Endless")(b"")
        await made.asked.wait()
        SecuredFolder(certificates, NOW).revoke("gateway")
        await made.ended.wait()
        unread.cancel()
