"""Metrics of a secured mesh: told to who shows a certificate of it."""

from __future__ import annotations

import datetime
import http.client
import shutil
import ssl
from pathlib import Path

import pytest

from sage_common.tls_settings import TlsFiles
from sage_platform.mesh_tls.secured_folder import SecuredFolder
from sage_platform.metrics_server import serve_metrics

NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    SecuredFolder(tmp_path / "tls", NOW).secure()
    return tmp_path / "tls"


def ask(port: int, context: ssl.SSLContext, name: str = "mesh.sage.internal") -> tuple[int, str]:
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=5)
    # As Prometheus does with server_name: the certificate is the service's, whatever address it is reached at.
    connection._context = _Named(context, name)  # type: ignore[attr-defined]
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class _Named:
    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._context = context
        self._name = name

    def wrap_socket(self, sock: object, *, server_hostname: str) -> ssl.SSLSocket:
        return self._context.wrap_socket(sock, server_hostname=self._name)  # type: ignore[arg-type]


def test_metrics_are_told_to_who_shows_a_certificate_and_to_nobody_else(
    certificates: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port = serve_metrics("127.0.0.1", 0, tls=TlsFiles(certificates / "gateway"))
    client = TlsFiles(certificates / "client")
    status, text = ask(port, client.client_context())
    assert (status, "python_info" in text) == (200, True)
    anonymous = ssl.create_default_context(cafile=str(client.authority))
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        ask(port, anonymous)
    clear = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    clear.request("GET", "/metrics")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        clear.getresponse()
    clear.close()
    # Somebody without a certificate is no event, and keeps nobody else from an answer.
    assert ask(port, client.client_context())[0] == 200
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_renewed_certificate_is_shown_and_a_revoked_one_is_refused(certificates: Path, tmp_path: Path) -> None:
    port = serve_metrics("127.0.0.1", 0, tls=TlsFiles(certificates / "gateway"))
    stolen = TlsFiles(Path(shutil.copytree(certificates / "client", tmp_path / "stolen")))
    assert ask(port, stolen.client_context())[0] == 200
    SecuredFolder(certificates, NOW).revoke("client")
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        ask(port, stolen.client_context())
    assert ask(port, TlsFiles(certificates / "client").client_context())[0] == 200
    # Another authority altogether: only a server that has read again is trusted.
    shutil.rmtree(certificates)
    SecuredFolder(certificates, NOW).secure()
    assert ask(port, TlsFiles(certificates / "client").client_context())[0] == 200


def test_without_a_certificate_metrics_are_told_in_the_clear() -> None:
    port = serve_metrics("127.0.0.1", 0)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 200
    connection.close()
