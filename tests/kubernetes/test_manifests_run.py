"""The services run as the manifests say: their environment, secrets, probes and NATS, in processes of this machine.

Of what a manifest says only addresses, ports and folders are others: pods have these to themselves. The embed-executor
is left out, since it loads a model for as long as all the others take together.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fixtures.cluster_api import cluster_api, pod
from fixtures.eventually import eventually
from fixtures.rendered_overlays import KUBERNETES, Resource, containers, environment

from sage_benchmark.gateway_benchmark import static_engine
from sage_common.ports import free_port
from sage_platform.mesh_tls.kubernetes_secrets import kubernetes_secrets
from sage_platform.mesh_tls.secured_folder import SecuredFolder
from sage_platform.nats_server import find_program
from sage_platform.supervision import bound_to_parent

OVERLAY = "gpu"
SERVICES = ("classifier", "scheduler", "llm-coordinator", "dataflow-worker", "gateway")
NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture
def overlay() -> str:
    """Skips the tests where nothing renders it."""
    return OVERLAY


@dataclass
class Running:
    """One service's process.

    Attributes:
        ports: of its ``ready`` line.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    container: Resource

    @property
    def ports(self) -> dict[str, int]:
        for line in self.log.read_text().splitlines():
            if '"event": "ready"' in line:
                told = json.loads(line)
                return {"metrics": told["metrics_port"], "http": told["http_port"], "grpc": told["grpc_port"]}
        return {}

    def answer(self, probe: str) -> int:
        """Ask as a kubelet does; 0 where nobody answers."""
        get = self.container[probe]["httpGet"]
        port = self.ports.get(get["port"])
        return 0 if port is None else status_of(f"http://127.0.0.1:{port}{get['path']}")


@dataclass
class Mesh:
    """All of them, and the key of the operator."""

    services: dict[str, Running]
    key: str

    def chat(self, key: str) -> tuple[int, Any]:
        """Ask the gateway as a client does."""
        body = json.dumps({"model": "static", "messages": [{"role": "user", "content": "hi"}]}).encode()
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        port = self.services["gateway"].ports["http"]
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def secrets_in(folder: Path) -> dict[str, dict[str, str]]:
    """Write each Secret as a pod mounts it; return what is in them."""
    SecuredFolder(folder / "kept", NOW).secure()
    found = {}
    for secret in kubernetes_secrets(folder / "kept", "sage"):
        name = secret["metadata"]["name"]
        found[name] = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        (folder / name).mkdir()
        for key, value in found[name].items():
            (folder / name / key).write_text(value)
    return found


def start_nats(running: ExitStack, directory: Path, secrets: Path) -> str:
    """Run the base's server; return its URL."""
    port = free_port()
    text = (KUBERNETES / "base" / "nats-server.conf").read_text()
    replaced = {
        "\nport: 4222": f"\nport: {port}",
        "\nhttp: 8222": f"\nhttp: {free_port()}",
        '"/etc/nats-tls/': f'"{secrets}/sage-tls-nats/',
        "store_dir: /data": f'store_dir: "{directory}/jetstream"',
    }
    for before, after in replaced.items():
        assert before in text
        text = text.replace(before, after)
    # What is included is found from the file's own folder.
    (directory / "nats-tls").symlink_to(secrets / "sage-tls-nats")
    (directory / "nats").mkdir()
    file = directory / "nats" / "nats-server.conf"
    file.write_text(text)
    command = bound_to_parent.command([str(find_program()), "--config", str(file), "-a", "127.0.0.1"])
    running.callback(ended, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    return f"nats://127.0.0.1:{port}"


def ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(20)


def variables(container: Resource, directory: Path, secrets: Path, held: dict[str, Any], nats: str) -> dict[str, str]:
    """Return a container's environment, with what of it is this machine's."""
    name, section = container["name"], container["name"].upper().replace("-", "_")
    given = environment(container, OVERLAY)
    for one in container["env"]:
        source = one.get("valueFrom", {})
        if "secretKeyRef" in source:
            given[one["name"]] = held[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
        elif "fieldRef" in source:
            assert source["fieldRef"]["fieldPath"] == "status.podIP"
            given[one["name"]] = "127.0.0.1"
    assert given["SAGE_NATS_URL"] == "nats://nats:4222"
    assert given["SAGE_TLS_FOLDER"] == "/etc/sage/tls"
    given |= {"SAGE_NATS_URL": nats, "SAGE_TLS_FOLDER": str(secrets / f"sage-tls-{name}")}
    given |= {f"SAGE_{section}_{port}_PORT": "0" for port in ("GRPC", "METRICS")}
    if name == "gateway":
        given["SAGE_GATEWAY_PORT"] = "0"
    # Where the image's folders are.
    given = {key: value.replace("/var/lib/sage", str(directory)) for key, value in given.items()}
    given["SAGE_ACCESS_MESH_TOKEN_FILE"] = str(secrets / "sage-access" / "mesh-token")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SAGE_")}
    return {**kept, **{f"XDG_{kind}_HOME": str(directory / kind) for kind in ("CONFIG", "DATA", "STATE")}, **given}


def started(container: Resource, variables: dict[str, str], log: Path) -> Running:
    command = [sys.executable, "-m", f"sage_{container['name'].replace('-', '_')}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT)
    return Running(container["name"], process, log, container)


@pytest.fixture
async def mesh(tmp_path: Path, overlay: str) -> AsyncIterator[Mesh]:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    held = secrets_in(secrets)
    with ExitStack() as running:
        engine = running.enter_context(static_engine())
        async with cluster_api() as cluster:
            cluster.set(pod("vllm-0", address="127.0.0.1", port=urlsplit(engine).port or 0))
            nats = start_nats(running, tmp_path, secrets)
            services = {}
            for _, container in containers(overlay):
                name = container["name"]
                if name not in SERVICES:
                    continue
                directory = tmp_path / name
                directory.mkdir()
                given = variables(container, directory, secrets, held, nats)
                if name == "llm-coordinator":
                    given["SAGE_LLM_COORDINATOR_KUBERNETES_KUBECONFIG"] = str(cluster.kubeconfig(tmp_path / "cluster"))
                    given["SAGE_LLM_COORDINATOR_KUBERNETES_NAMESPACES"] = '["sage"]'
                services[name] = started(container, given, directory / "log")
                running.callback(services[name].process.kill)
            yield Mesh(services, held["sage-access"]["operator-key"])
            for one in services.values():
                one.process.kill()
                one.process.wait(10)


async def test_a_mesh_of_the_manifests_comes_up_answers_and_ends(mesh: Mesh) -> None:
    every = list(mesh.services.values())
    for one in every:
        # The gateway is ready once the pod is an engine that is.
        await eventually(lambda one=one: asyncio.to_thread(lambda: one.answer("readinessProbe") == 200), seconds=40)  # type: ignore[misc]
        assert await asyncio.to_thread(one.answer, "livenessProbe") == 200, one.log.read_text()[-2000:]

    status, answer = await asyncio.to_thread(mesh.chat, mesh.key)
    assert status == 200, answer
    assert answer["usage"]["completion_tokens"] == 16
    assert (await asyncio.to_thread(mesh.chat, ""))[0] == 401
    assert (await asyncio.to_thread(mesh.chat, "another"))[0] == 401

    for one in every:
        one.process.send_signal(signal.SIGTERM)
    for one in every:
        assert await asyncio.to_thread(one.process.wait, 30) == 0, one.log.read_text()[-2000:]
