"""A mesh with certificates: its work is done, and what comes with the wrong ones is refused."""

from __future__ import annotations

import datetime
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from fixtures.eventually import eventually
from fixtures.issuer import AUDIENCE, Issuer, running_issuer
from fixtures.process_mesh import sage
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_common.errors import SageError
from sage_common.service_settings import NatsSettings
from sage_common.tls_settings import TlsFiles
from sage_platform.grpc_server import channel
from sage_platform.mesh_tls.secured_folder import SecuredFolder
from sage_platform.nats_connection import connect

NOW = datetime.datetime.now(datetime.timezone.utc)
SERVICES = ("gateway", "classifier", "scheduler", "llm-coordinator", "embed-executor", "dataflow-worker")
# Longer bodies go through the object store.
INLINE_BYTES = 64 * 1024
PIPELINE = {
    "apiVersion": "sage/v1",
    "kind": "Pipeline",
    "metadata": {"name": "secured"},
    "nodes": {
        "texts": {"op": "source", "records": [{"text": "rain"}, {"text": "sun"}]},
        "vectors": {"op": "embed", "in": "texts"},
        "out": {"op": "sink", "in": "vectors", "uri": "collection:out"},
    },
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[IsolatedMesh]:
    directory = tmp_path_factory.mktemp("secured")
    SecuredFolder(directory / "config" / "sage" / "tls", NOW).secure()
    settings = {
        "SAGE_GATEWAY_HTTPS": "true",
        "SAGE_GATEWAY_INLINE_BODY_BYTES": str(INLINE_BYTES),
        "SAGE_OIDC_ISSUER": issuer.url,
        "SAGE_OIDC_AUDIENCE": AUDIENCE,
    }
    with isolated_mesh(directory, settings=settings) as mesh:
        yield mesh


def certificates(mesh: IsolatedMesh) -> Path:
    return mesh.directory / "config" / "sage" / "tls"


def call(
    mesh: IsolatedMesh, path: str, token: str, body: dict[str, Any] | None = None, ca: Path | None = None
) -> tuple[int, dict[str, Any]]:
    """Call the HTTP API; return the status and the answer."""
    context = ssl.create_default_context(cafile=str(ca or certificates(mesh) / "ca.pem"))
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(mesh.gateway_url + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_chats_embeddings_and_jobs_are_answered_and_nothing_is_denied(
    secured: IsolatedMesh, issuer: Issuer, tmp_path: Path
) -> None:
    assert secured.gateway_url.startswith("https://")
    token = issuer.token(now=time.time())
    messages = [{"role": "user", "content": "What is rain? Rain is water that falls from clouds."}]
    body = {"model": "sage-extractive", "messages": messages}
    status, chat = call(secured, "/v1/chat/completions", token, body)
    assert (status, bool(chat["choices"][0]["message"]["content"])) == (200, True)
    long = {"role": "system", "content": "A" * 2 * INLINE_BYTES}
    assert call(secured, "/v1/chat/completions", token, {**body, "messages": [long, *messages]})[0] == 200
    status, vectors = call(secured, "/v1/embeddings", token, {"model": "all-MiniLM-L6-v2", "input": ["rain", "sun"]})
    assert (status, len(vectors["data"])) == (200, 2)
    body = {"model": "sage-extractive", "input": "What is rain? Rain is water."}
    status, stored = call(secured, "/v1/responses", token, body)
    assert (status, stored["status"]) == (200, "completed")
    status, job = call(secured, "/v1/management/jobs?job_id=secured", token, PIPELINE)
    assert (status, job["job_id"]) == (201, "secured")
    assert '"succeeded"' in sage(secured, "job", "watch", "secured", "--json")
    sage(secured, "key", "list")
    shown = json.loads(sage(secured, "status", "--json"))
    assert (shown["secured"], shown["warnings"]) == (True, [])
    assert "certificates end in 365 days" in sage(secured, "status")
    assert "Violation" not in secured.log("nats")


def test_a_job_of_a_token_is_its_tenants_own(secured: IsolatedMesh, issuer: Issuer) -> None:
    other = issuer.token(now=time.time(), tenant="team-b", sub="grace")
    own = issuer.token(now=time.time())
    assert call(secured, "/v1/management/jobs?job_id=mine", own, PIPELINE)[0] == 201
    assert call(secured, "/v1/management/jobs/mine", own)[0] == 200
    assert call(secured, "/v1/management/jobs/mine", other)[0] == 404
    operator = issuer.token(now=time.time(), sub="ops", roles=["sage-operator"])
    assert call(secured, "/v1/management/jobs/mine", operator)[0] == 200


def test_orders_are_for_the_operators_among_the_bearers(secured: IsolatedMesh, issuer: Issuer) -> None:
    tenant = issuer.token(now=time.time())
    status, answer = call(secured, "/v1/management/keys", tenant)
    assert (status, answer["error"]["code"]) == (403, "operators_only")
    operator = issuer.token(now=time.time(), sub="ops", roles=["sage-operator"])
    assert call(secured, "/v1/management/keys", operator)[0] == 200


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("missing", "invalid_api_key"),
        ("expired", "token_expired"),
        ("another's", "token_forged"),
        ("none", "token_algorithm"),
        ("for others", "token_refused"),
    ],
)
def test_a_wrong_token_is_refused_with_its_reason(secured: IsolatedMesh, issuer: Issuer, case: str, code: str) -> None:
    now = time.time()
    impostor = Issuer(port=issuer.port)
    impostor.add_key("first")
    unsigned = jwt.encode({"iss": issuer.url, "aud": AUDIENCE, "tenant": "team-a", "exp": now + 60}, "", "none")
    tokens = {
        "missing": "",
        "expired": issuer.token(now=now - 600, seconds=60),
        "another's": impostor.token(now=now),
        "none": unsigned,
        "for others": issuer.token(now=now, aud="another"),
    }
    status, answer = call(secured, "/v1/models", tokens[case])
    assert (status, answer["error"]["code"]) == (401, code)


def test_a_client_that_trusts_others_does_not_talk_to_the_gateway(
    secured: IsolatedMesh, issuer: Issuer, tmp_path: Path
) -> None:
    SecuredFolder(tmp_path / "other", NOW).secure()
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        call(secured, "/v1/models", issuer.token(now=time.time()), ca=tmp_path / "other" / "ca.pem")


def test_no_secret_is_in_a_log_or_on_a_command_line(secured: IsolatedMesh, issuer: Issuer) -> None:
    token = issuer.token(now=time.time())
    assert call(secured, "/v1/models", token)[0] == 200
    mesh_token = (secured.directory / "state" / "sage" / "mesh.token").read_text()
    names = [status.name for status in secured.state.processes]
    shown = [secured.log(name) for name in names]
    shown += [" ".join(secured.process(name).cmdline()) for name in names]
    shown += [" ".join(secured.process(name).environ().values()) for name in names]
    for secret in (token, mesh_token, "PRIVATE KEY"):
        assert not any(secret in text for text in shown)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_answers_calls_with_a_certificate_of_the_mesh_and_no_others(
    secured: IsolatedMesh, tmp_path: Path, service: str
) -> None:
    address = f"127.0.0.1:{secured.processes(service)[0].ports['grpc']}"
    SecuredFolder(tmp_path / "other", NOW).secure()

    async def ask(tls: TlsFiles | None) -> grpc.StatusCode:
        async with channel(address, tls=tls, service=service) as opened:
            try:
                await health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(), timeout=5)
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

    assert await ask(TlsFiles(certificates(secured) / "client")) is grpc.StatusCode.OK
    assert await ask(None) is grpc.StatusCode.UNAVAILABLE
    assert await ask(TlsFiles(tmp_path / "other" / "gateway")) is grpc.StatusCode.UNAVAILABLE


async def test_nats_takes_nobody_without_a_certificate(secured: IsolatedMesh) -> None:
    settings = NatsSettings(url=secured.nats_url, connect_timeout_seconds=1)
    with pytest.raises(SageError, match="SAGE_TLS_FOLDER"):
        await connect(settings, name="nobody")


def test_renewed_certificates_are_taken_up_by_what_runs(secured: IsolatedMesh, issuer: Issuer) -> None:
    answer = json.loads(sage(secured, "mesh", "secure", "--renew", "--json"))
    assert (answer["reloaded"], answer["restart_needed"]) == (True, False)
    assert len(answer["made"]) == len(answer["certificates"])
    body = {"model": "all-MiniLM-L6-v2", "input": "rain"}
    assert call(secured, "/v1/embeddings", issuer.token(now=time.time()), body)[0] == 200
    status = json.loads(sage(secured, "status", "--json"))
    assert (status["problems"], status["warnings"]) == ([], [])


def test_a_restart_one_process_at_a_time_leaves_the_mesh_secured(secured: IsolatedMesh, issuer: Issuer) -> None:
    before = {name: secured.process(name).pid for name in ("gateway", "scheduler")}
    sage(secured, "restart", "gateway", "scheduler", "--drain", "5")
    assert all(secured.process(name).pid != pid for name, pid in before.items())
    body = {"model": "all-MiniLM-L6-v2", "input": "rain"}
    assert call(secured, "/v1/embeddings", issuer.token(now=time.time()), body)[0] == 200
    assert "Violation" not in secured.log("nats")


async def test_a_killed_nats_server_is_secured_again_and_everybody_reconnects(
    secured: IsolatedMesh, issuer: Issuer
) -> None:
    killed = secured.process("nats")
    killed.kill()
    secured.wait_ready("nats", not_pid=killed.pid)
    body = {"model": "all-MiniLM-L6-v2", "input": "rain"}

    def answered() -> bool:
        return call(secured, "/v1/embeddings", issuer.token(now=time.time()), body)[0] == 200

    await eventually(answered, seconds=30)
    assert "Violation" not in secured.log("nats")
