"""The probe, against real servers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from sage_cli.mesh.registrations import why_not_serving
from sage_common.errors import ConfigurationError
from sage_common.ports import free_port
from sage_platform.grpc_server import GrpcServer
from sage_platform.probe import EXIT_NOT_WELL, EXIT_USAGE, EXIT_WELL, probe, service_address
from sage_platform.registry import Instance


async def run(*arguments: str) -> tuple[int, str]:
    """Exit status and stderr of the probe as a program."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sage_platform.probe", *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, stderr.decode()


async def test_a_server_that_serves_is_well_and_one_that_does_not_is_not() -> None:
    server = GrpcServer()
    port = await server.start("127.0.0.1", 0, setting="none")
    try:
        status, reason = await run(f"127.0.0.1:{port}")
        assert status == EXIT_NOT_WELL
        assert "NOT_SERVING" in reason

        await server.set_serving(True)
        assert await run(f"127.0.0.1:{port}") == (EXIT_WELL, "")
    finally:
        await server.stop(0)


async def test_a_server_that_does_not_serve_says_why() -> None:
    server = GrpcServer()
    port = await server.start("127.0.0.1", 0, setting="none")
    try:
        await server.set_serving(False, "pool main: no scheduler can lead it\n(\u00fcber)")
        status, reason = await run(f"127.0.0.1:{port}")
        assert status == EXIT_NOT_WELL
        assert reason.endswith("NOT_SERVING; pool main: no scheduler can lead it (\\xfcber)\n")
        instance = Instance("classifier", "one", "127.0.0.1", 0, port)
        fault = await why_not_serving(instance)
        assert fault == "pool main: no scheduler can lead it (\\xfcber)"
        await server.set_serving(True)
        assert await why_not_serving(instance) is None
    finally:
        await server.stop(0)


def test_nothing_at_the_address_is_not_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe([f"127.0.0.1:{free_port()}"]) == EXIT_NOT_WELL
    assert "UNAVAILABLE" in capsys.readouterr().err
    assert probe(["http", f"http://127.0.0.1:{free_port()}/ready"]) == EXIT_NOT_WELL
    assert "does not answer" in capsys.readouterr().err


class Readiness(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ready = self.path == "/ready"
        body = b"ready" if ready else b"no engine has announced a model yet"
        self.send_response(200 if ready else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def http_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Readiness) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def test_an_http_answer_in_the_200s_is_well(http_server: str) -> None:
    assert probe(["http", f"{http_server}/ready"]) == EXIT_WELL


def test_any_other_http_answer_is_not_well_and_is_shown(http_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe(["http", f"{http_server}/not"]) == EXIT_NOT_WELL
    assert "503: no engine has announced a model yet" in capsys.readouterr().err


def test_a_proxy_in_the_environment_is_not_asked(http_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert probe(["http", f"{http_server}/ready"]) == EXIT_WELL


def test_a_service_is_probed_at_its_setting_or_its_well_known_port() -> None:
    assert service_address("embed-executor", {}) == "127.0.0.1:50053"
    assert service_address("embed-executor", {"SAGE_EMBED_EXECUTOR_GRPC_PORT": "7"}) == "127.0.0.1:7"
    with pytest.raises(ConfigurationError, match="the services are classifier, "):
        service_address("embedder", {})


@pytest.mark.parametrize(
    "arguments", [[], ["localhost"], ["service"], ["http", "ready"], ["service", "nope"], list("abc")]
)
def test_wrong_usage_is_told_apart(arguments: list[str]) -> None:
    assert probe(arguments) == EXIT_USAGE
