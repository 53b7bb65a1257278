"""The NATS servers of the manifests start as they are configured, with the certificates of `sage mesh secrets`."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from fixtures.eventually import eventually
from fixtures.rendered_overlays import KUBERNETES

from sage_common.ports import free_port
from sage_common.service_settings import NatsSettings
from sage_platform import subjects
from sage_platform.kv import open_bucket
from sage_platform.mesh_tls.kubernetes_secrets import NATS_HOSTS, gateway_hosts, kubernetes_secrets
from sage_platform.mesh_tls.secured_folder import SecuredFolder
from sage_platform.nats_connection import connect
from sage_platform.nats_server import find_program
from sage_platform.supervision import bound_to_parent

NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a mesh's secrets are, each in a folder as a pod mounts it."""
    folder = tmp_path_factory.mktemp("kubernetes")
    SecuredFolder(folder / "kept", NOW).secure((*gateway_hosts("sage"), *NATS_HOSTS))
    for secret in kubernetes_secrets(folder / "kept", "sage"):
        mounted = folder / secret["metadata"]["name"]
        mounted.mkdir()
        for key, value in secret["data"].items():
            (mounted / key).write_bytes(base64.b64decode(value))
    return folder


@contextmanager
def server(directory: Path, configuration: str, **ports: int) -> Iterator[int]:
    """Run nats-server by a manifest's configuration, its files and ports apart; give its monitor's port."""
    configuration = configuration.replace('"/etc/nats-tls/', f'"{directory}/nats-tls/')
    configuration = configuration.replace("store_dir: /data", f"store_dir: {json.dumps(str(directory / 'data'))}")
    for name, port in ports.items():
        before = {"client": "\nport: 4222", "monitor": "\nhttp: 8222", "routes": "\n  port: 6222"}[name]
        assert before in configuration
        configuration = configuration.replace(before, f"{before.rpartition(' ')[0]} {port}")
    (directory / "nats").mkdir()
    file = directory / "nats" / "nats-server.conf"
    file.write_text(configuration)
    command = bound_to_parent.command([str(find_program()), "--config", str(file), "-a", "127.0.0.1"])
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield ports["monitor"]
    finally:
        process.terminate()
        process.wait(20)


def is_well(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def test_one_server_knows_services_by_their_certificates(
    secured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = (KUBERNETES / "base" / "nats-server.conf").read_text()
    shutil.copytree(secured / "sage-tls-nats", tmp_path / "nats-tls")
    client, monitor = free_port(), free_port()
    with server(tmp_path, configuration, client=client, monitor=monitor):
        for path in ("/healthz", "/healthz?js-enabled-only=true", "/healthz?js-server-only=true"):
            await eventually(lambda path=path: is_well(monitor, path))  # type: ignore[misc]
        monkeypatch.setenv("SAGE_TLS_FOLDER", str(secured / "sage-tls-scheduler"))
        connection = await connect(NatsSettings(url=f"nats://127.0.0.1:{client}"), name="scheduler")
        try:
            assert connection.is_connected
            await connection.flush(5)
        finally:
            await connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="loopback has one address")
async def test_three_servers_are_one_cluster(secured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = (KUBERNETES / "components" / "nats-cluster" / "nats-server.conf").read_text()
    routes = [free_port() for _ in NATS_HOSTS]
    monitors = []
    clients = [free_port() for _ in NATS_HOSTS]
    with ExitStack() as running:
        for number, host in enumerate(NATS_HOSTS):
            directory = tmp_path / host
            shutil.copytree(secured / "sage-tls-nats", directory / "nats-tls")
            included = directory / "nats-tls" / "routes.conf"
            text = included.read_text()
            for other, port in zip(NATS_HOSTS, routes, strict=True):
                assert f"@{other}:6222" in text
                # The names are a cluster's; here all are one machine, whose name is in the certificate too.
                text = text.replace(f"{other}:6222", f"localhost:{port}")
            included.write_text(text)
            monkeypatch.setenv("POD_NAME", host.partition(".")[0])
            monitors.append(
                running.enter_context(
                    server(directory, configuration, client=clients[number], monitor=free_port(), routes=routes[number])
                )
            )
        for monitor in monitors:
            await eventually(lambda monitor=monitor: is_well(monitor, "/healthz"), seconds=40)  # type: ignore[misc]
        monkeypatch.setenv("SAGE_TLS_FOLDER", str(secured / "sage-tls-scheduler"))
        url = ",".join(f"nats://127.0.0.1:{port}" for port in clients)
        connection = await connect(NatsSettings(url=url), name="scheduler")
        try:
            js = connection.jetstream()
            await asyncio.wait_for(open_bucket(js, subjects.BUCKET_LEASES, ttl_seconds=2.0), 20)
            # As many servers as the manifests name keep a copy.
            assert (await js.stream_info(f"KV_{subjects.BUCKET_LEASES}")).config.num_replicas == 3
        finally:
            await connection.close()
