"""A mesh with API keys: who may do what, over HTTP, over the gRPC of every service and from the command line; and that
its secrets are nowhere to be seen."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import nats
import psutil
import pytest
from fixtures.fake_vllm_mesh import FAKE
from fixtures.warm_command import run_sage
from nats.js.api import StreamInfo
from pydantic import SecretStr

from sage.classifier.v1 import classifier_pb2, classifier_pb2_grpc
from sage.dataflow.v1 import dataflow_pb2, dataflow_pb2_grpc
from sage.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from sage.gateway.v1 import (
    gateway_pb2,
    gateway_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    tenants_pb2,
    tenants_pb2_grpc,
)
from sage.llm.v1 import llm_pb2, llm_pb2_grpc
from sage.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from sage_benchmark.gateway_benchmark import static_engine
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_common.errors import UnauthenticatedError
from sage_common.service_settings import NatsSettings
from sage_platform.nats_connection import connect

KEYS = {
    "canary-key-acme": "acme",
    "canary-key-rival": "rival",
    "canary-key-ops": {"tenant": "ops", "operator": True},
}
TENANT, RIVAL, OPERATOR = KEYS
HUB_TOKEN = "canary-hub-token"
UPSTREAM_KEY = "canary-upstream-key"
CHAT = {
    "model": "sage-extractive",
    "messages": [{"role": "user", "content": "Context: Paris is in France.\n\nQuestion: Where is Paris?"}],
}
DENIED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
PIPELINE = """
apiVersion: sage/v1
kind: Pipeline
metadata: {name: mine}
nodes: []
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    directory = tmp_path_factory.mktemp("access")
    python = directory / "python-with-vllm"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    python.chmod(0o755)
    settings = {
        "SAGE_ACCESS_API_KEYS": json.dumps(KEYS),
        "SAGE_LLM_COORDINATOR_VLLM_PYTHON": str(python),
        "SAGE_LLM_COORDINATOR_VLLM_PORTS": "0-0",
        "FAKE_VLLM": "serve",
        "FAKE_VLLM_PIDS": str(directory / "pids"),
        "HF_TOKEN": HUB_TOKEN,
    }
    with isolated_mesh(directory / "mesh", settings=settings) as running:
        yield running


@dataclass(frozen=True)
class Service:
    """How to call a service, and its calls: what any key may, and what only an operator's may."""

    stub: Any
    reading: tuple[str, Any] | None
    orders: tuple[tuple[str, Any], ...] = ()


SERVICES = {
    "gateway": Service(gateway_pb2_grpc.GatewayServiceStub, ("ListModels", gateway_pb2.ListModelsRequest())),
    "gateway's keys": Service(
        keys_pb2_grpc.KeyServiceStub,
        None,
        (
            ("CreateKey", keys_pb2.CreateKeyRequest(tenant="")),
            ("ListKeys", keys_pb2.ListKeysRequest()),
            ("RotateKey", keys_pb2.RotateKeyRequest(id="nobody")),
            ("RevokeKey", keys_pb2.RevokeKeyRequest(id="nobody")),
        ),
    ),
    "gateway's tenants": Service(
        tenants_pb2_grpc.TenantServiceStub,
        None,
        (
            ("SetTenant", tenants_pb2.SetTenantRequest()),
            ("GetTenant", tenants_pb2.GetTenantRequest(name="nobody")),
            ("ListTenants", tenants_pb2.ListTenantsRequest()),
            ("RemoveTenant", tenants_pb2.RemoveTenantRequest(name="nobody")),
            ("SetPrice", tenants_pb2.SetPriceRequest()),
            ("ListPrices", tenants_pb2.ListPricesRequest()),
            ("RemovePrice", tenants_pb2.RemovePriceRequest(model="nothing")),
            ("QueryUsage", tenants_pb2.QueryUsageRequest()),
        ),
    ),
    "gateway's models": Service(
        models_pb2_grpc.ModelServiceStub,
        None,
        (
            ("SetModelRoute", models_pb2.SetModelRouteRequest()),
            ("ListModelRoutes", models_pb2.ListModelRoutesRequest()),
            ("RemoveModelRoute", models_pb2.RemoveModelRouteRequest(name="nothing")),
        ),
    ),
    "classifier": Service(
        classifier_pb2_grpc.ClassifierServiceStub,
        (
            "Classify",
            classifier_pb2.ClassifyRequest(request={"endpoint": 1, "body": json.dumps(CHAT).encode()}),  # type: ignore[arg-type]
        ),
    ),
    "scheduler": Service(
        scheduler_pb2_grpc.SchedulerServiceStub,
        ("ListEngines", scheduler_pb2.ListEnginesRequest()),
        (
            ("SetPolicy", scheduler_pb2.SetPolicyRequest(policy="hybrid")),
            ("DrainEngine", scheduler_pb2.DrainEngineRequest(engine_id="nobody")),
        ),
    ),
    "embed-executor": Service(
        embedding_pb2_grpc.EmbeddingServiceStub, ("ListEngines", embedding_pb2.ListEnginesRequest())
    ),
    "llm-coordinator": Service(
        llm_pb2_grpc.LlmServiceStub,
        ("ListEngines", llm_pb2.ListEnginesRequest()),
        (
            ("RegisterEngine", llm_pb2.RegisterEngineRequest(url="")),
            ("StartEngine", llm_pb2.StartEngineRequest(model="")),
            ("RestartEngine", llm_pb2.RestartEngineRequest(engine_id="nobody")),
            ("EngineLogs", llm_pb2.EngineLogsRequest(engine_id="nobody")),
            ("RemoveEngine", llm_pb2.RemoveEngineRequest(engine_id="nobody")),
            ("LoadLora", llm_pb2.LoadLoraRequest(engine_id="nobody", name="a", path="/a")),
            ("UnloadLora", llm_pb2.UnloadLoraRequest(engine_id="nobody", name="a")),
        ),
    ),
    "dataflow-worker": Service(dataflow_pb2_grpc.DataflowServiceStub, ("ListJobs", dataflow_pb2.ListJobsRequest())),
}
ORDERS = [(name, *order) for name, service in SERVICES.items() for order in service.orders]


def metadata(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),) if key else ()


def call(mesh: IsolatedMesh, service: str, method: str, request: Any, key: str) -> tuple[grpc.StatusCode, Any]:
    """Make a call; return its status, and what it answered or why it failed."""
    process = mesh.processes(service.partition("'")[0])[0]
    with grpc.insecure_channel(f"127.0.0.1:{process.ports['grpc']}") as channel:
        try:
            answer = getattr(SERVICES[service].stub(channel), method)(request, timeout=30, metadata=metadata(key))
            return grpc.StatusCode.OK, list(answer) if hasattr(answer, "__next__") else answer
        except grpc.RpcError as error:
            return error.code(), error.details()


def http(
    mesh: IsolatedMesh, method: str, path: str, key: str = "", body: Any = None, **headers: str
) -> tuple[int, Any]:
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        mesh.gateway_url + path, data, {"Content-Type": "application/json", **headers}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def sage(mesh: IsolatedMesh, *arguments: str, key: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**mesh.environment, **({"SAGE_CLIENT_API_KEY": key} if key else {})}
    return run_sage(arguments, environment, 60)


def mesh_token(mesh: IsolatedMesh) -> str:
    return (mesh.directory / "state" / "sage" / "mesh.token").read_text()


@pytest.mark.parametrize("service", [name for name, service in SERVICES.items() if service.reading])
def test_every_service_asks_for_a_key_over_grpc(mesh: IsolatedMesh, service: str) -> None:
    reading = SERVICES[service].reading
    assert reading is not None
    for key in ("", "unknown"):
        assert call(mesh, service, *reading, key)[0] is grpc.StatusCode.UNAUTHENTICATED
    for key in (TENANT, OPERATOR, mesh_token(mesh)):
        assert call(mesh, service, *reading, key)[0] is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("service", "method", "request_"), ORDERS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_orders_over_grpc_are_for_operators(mesh: IsolatedMesh, service: str, method: str, request_: Any) -> None:
    assert call(mesh, service, method, request_, "")[0] is grpc.StatusCode.UNAUTHENTICATED
    assert call(mesh, service, method, request_, TENANT)[0] is grpc.StatusCode.PERMISSION_DENIED
    for key in (OPERATOR, mesh_token(mesh)):
        # Past the door: most of these name what does not exist.
        assert call(mesh, service, method, request_, key)[0] not in DENIED


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "policy", {"policy": "hybrid"}),
        ("GET", "tenants", None),
        ("PUT", "tenants/acme", {"daily_tokens": -1}),
        ("DELETE", "tenants/nobody", None),
        ("GET", "tenants/nobody", None),
        ("PUT", "prices/nothing", {}),
        ("GET", "models", None),
        ("GET", "models/nothing", None),
        ("PUT", "models/twice", {"targets": [{"model": "a"}, {"model": "a"}]}),
        ("DELETE", "models/nothing", None),
        ("GET", "usage?by=week", None),
        ("POST", "engines", {"url": ""}),
        ("POST", "engines", {"model": "", "preset": "cpu-tiny"}),
        ("POST", "engines/nobody/drain", None),
        ("POST", "engines/nobody/restart", None),
        ("GET", "engines/nobody/logs", None),
        ("DELETE", "engines/nobody", None),
        ("POST", "engines/nobody/lora", {"name": "a", "path": "/a"}),
        ("DELETE", "engines/nobody/lora/a", None),
        ("GET", "keys", None),
        ("POST", "keys", {"tenant": ""}),
        ("POST", "keys/nobody/rotate", None),
        ("DELETE", "keys/nobody", None),
    ],
)
def test_orders_over_http_are_for_operators_and_reach_the_services(
    mesh: IsolatedMesh, method: str, path: str, body: Any
) -> None:
    assert http(mesh, method, f"/v1/management/{path}", "", body)[0] == 401
    assert http(mesh, method, f"/v1/management/{path}", TENANT, body)[0] == 403
    status, answer = http(mesh, method, f"/v1/management/{path}", OPERATOR, body)
    # The gateway has called a service with the mesh's own token, which says that there is no such engine.
    assert status in (200, 400, 404), answer


def test_orders_from_the_command_line_are_for_operators(mesh: IsolatedMesh) -> None:
    refused = sage(mesh, "policy", "set", "hybrid", key=TENANT)
    assert (refused.returncode, "for operators" in refused.stderr) == (77, True)
    assert sage(mesh, "policy", "set", "hybrid", key=OPERATOR).returncode == 0
    # Whoever owns the mesh reads its token, and needs no key.
    assert sage(mesh, "policy", "set", "hybrid").returncode == 0
    assert sage(mesh, "job", "list").returncode == 0
    stranger = {"XDG_STATE_HOME": str(mesh.directory / "nothing"), "SAGE_NATS_URL": mesh.state.facts["nats_url"]}
    command = [sys.executable, "-m", "sage_cli", "policy", "set", "hybrid"]
    done = subprocess.run(command, env={**mesh.environment, **stranger}, capture_output=True, text=True, timeout=60)
    assert (done.returncode != 0, "does not take the token" in done.stderr) == (True, True)


def test_a_key_is_made_known_to_every_service_and_revoked_while_the_mesh_runs(mesh: IsolatedMesh) -> None:
    made = sage(mesh, "key", "create", "late", "--label", "made while it runs", "--expires-in", "1h")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    answered_soon(mesh, key, grpc.StatusCode.OK)
    assert http(mesh, "POST", "/v1/chat/completions", key, CHAT)[0] == 200
    assert sage(mesh, "key", "list", key=key).returncode == 77
    listed = json.loads(sage(mesh, "key", "list", "--json").stdout)
    (mine,) = [one for one in listed if one["tenant"] == "late"]
    assert (mine["label"], mine["operator"]) == ("made while it runs", False)
    assert key not in sage(mesh, "key", "list", "--json").stdout
    status, rotated = http(mesh, "POST", f"/v1/management/keys/{mine['id']}/rotate", OPERATOR)
    assert status == 201
    answered_soon(mesh, rotated["secret"], grpc.StatusCode.OK)
    assert http(mesh, "GET", "/v1/models", rotated["secret"])[0] == 200
    assert sage(mesh, "key", "revoke", rotated["id"]).returncode == 0
    for ended in (key, rotated["secret"]):
        answered_soon(mesh, ended, grpc.StatusCode.UNAUTHENTICATED)
    assert http(mesh, "GET", "/v1/models")[0] == 401


def answered_soon(mesh: IsolatedMesh, key: str, expected: grpc.StatusCode) -> None:
    """Wait until every service answers a key so: each hears of a change by itself."""
    deadline = time.monotonic() + 5
    for name, service in SERVICES.items():
        if service.reading is not None:
            while call(mesh, name, *service.reading, key)[0] is not expected:
                assert time.monotonic() < deadline, name


def test_work_for_another_tenant_is_an_operators_right(mesh: IsolatedMesh) -> None:
    body = json.dumps(CHAT).encode()
    submit = scheduler_pb2.SubmitRequest(request={"endpoint": 1, "body": body, "tenant": "rival"})  # type: ignore[arg-type]
    assert call(mesh, "scheduler", "Submit", submit, TENANT)[0] is grpc.StatusCode.PERMISSION_DENIED
    assert call(mesh, "scheduler", "Submit", submit, OPERATOR)[0] is grpc.StatusCode.OK
    rival = {"X-Sage-Tenant": "rival"}
    assert http(mesh, "POST", "/v1/chat/completions", TENANT, CHAT, **rival)[0] == 403
    assert http(mesh, "POST", "/v1/chat/completions", OPERATOR, CHAT, **rival)[0] == 200
    chat = gateway_pb2.ChatRequest(envelope={"tenant": "rival"}, messages=CHAT["messages"])  # type: ignore[arg-type]
    assert call(mesh, "gateway", "Chat", chat, TENANT)[0] is grpc.StatusCode.PERMISSION_DENIED
    assert call(mesh, "gateway", "Chat", chat, OPERATOR)[0] is grpc.StatusCode.OK


def test_a_decision_is_its_tenants_over_grpc_too(mesh: IsolatedMesh) -> None:
    status, _ = http(mesh, "POST", "/v1/chat/completions", TENANT, CHAT, **{"X-Request-ID": "acmes-request"})
    assert status == 200
    explain = scheduler_pb2.ExplainRequest(request_id="acmes-request")
    for key, expected in (
        (TENANT, grpc.StatusCode.OK),
        (OPERATOR, grpc.StatusCode.OK),
        (RIVAL, grpc.StatusCode.NOT_FOUND),
    ):
        assert call(mesh, "scheduler", "Explain", explain, key)[0] is expected


def test_a_job_is_its_tenants(mesh: IsolatedMesh) -> None:
    submit = dataflow_pb2.SubmitJobRequest(pipeline=PIPELINE, job_id="acmes-job")
    assert call(mesh, "dataflow-worker", "SubmitJob", submit, TENANT)[0] is grpc.StatusCode.OK
    calls = (
        ("GetJob", dataflow_pb2.GetJobRequest(job_id="acmes-job")),
        ("WatchJob", dataflow_pb2.WatchJobRequest(job_id="acmes-job")),
        ("CancelJob", dataflow_pb2.CancelJobRequest(job_id="acmes-job")),
    )
    for name, request in calls:
        assert call(mesh, "dataflow-worker", name, request, RIVAL)[0] is grpc.StatusCode.NOT_FOUND
        assert call(mesh, "dataflow-worker", name, request, TENANT)[0] is grpc.StatusCode.OK
    assert call(mesh, "dataflow-worker", "SubmitJob", submit, RIVAL)[0] is grpc.StatusCode.ALREADY_EXISTS
    for key, jobs in ((RIVAL, []), (TENANT, ["acmes-job"]), (OPERATOR, ["acmes-job"])):
        _, answer = call(mesh, "dataflow-worker", "ListJobs", dataflow_pb2.ListJobsRequest(), key)
        assert [job.job_id for job in answer.jobs] == jobs


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("arguments", ["--trust-remote-code"]),
        ("arguments", ["--worker-cls", "evil.Worker"]),
        ("environment", {"LD_PRELOAD": "/tmp/evil.so"}),
        ("environment", {"HF_TOKEN": "canary-of-an-order"}),
    ],
)
def test_an_order_starts_models_and_not_code(mesh: IsolatedMesh, field: str, value: Any) -> None:
    start = llm_pb2.StartEngineRequest(model="acme/tiny", **{field: value})
    assert call(mesh, "llm-coordinator", "StartEngine", start, OPERATOR)[0] is grpc.StatusCode.PERMISSION_DENIED
    status, answer = http(mesh, "POST", "/v1/management/engines", OPERATOR, {"model": "acme/tiny", field: value})
    assert (status, answer["error"]["code"]) == (403, "option_not_allowed")


@asynccontextmanager
async def connected(mesh: IsolatedMesh) -> AsyncIterator[nats.NATS]:
    connection = await nats.connect(mesh.nats_url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_nats_takes_nobody_without_the_meshs_token(
    mesh: IsolatedMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    url = mesh.state.facts["nats_url"]
    for token in ("", "wrong"):
        with pytest.raises(UnauthenticatedError):
            await connect(NatsSettings(url=url, token=SecretStr(token)), name="stranger")
    right = await connect(NatsSettings(url=url, token=SecretStr(mesh_token(mesh))), name="test")
    await right.close()


def test_nats_shows_nothing_to_a_page_of_another_site(mesh: IsolatedMesh) -> None:
    monitor = next(status.ports["monitor"] for status in mesh.state.processes if status.name == "nats")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{monitor}/connz", timeout=5)
    with caught.value:
        assert (caught.value.code, caught.value.headers["Access-Control-Allow-Origin"]) == (404, None)


async def test_no_secret_is_to_be_seen(mesh: IsolatedMesh) -> None:
    with static_engine() as url:
        register = llm_pb2.RegisterEngineRequest(url=url, engine_id="upstream", api_key=UPSTREAM_KEY)
        assert call(mesh, "llm-coordinator", "RegisterEngine", register, OPERATOR)[0] is grpc.StatusCode.OK
        start = llm_pb2.StartEngineRequest(model="acme/tiny", name="tiny", skip_memory_check=True)
        assert call(mesh, "llm-coordinator", "StartEngine", start, OPERATOR)[0] is grpc.StatusCode.OK
        wrong = llm_pb2.RegisterEngineRequest(url=f"http://user:{UPSTREAM_KEY}@127.0.0.1:1")
        _, refusal = call(mesh, "llm-coordinator", "RegisterEngine", wrong, OPERATOR)
        server = _server_of_fake(mesh)
        seen = {
            "command lines": _command_lines(),
            "NATS": await _everything_stored(mesh),
            "logs": _logs(mesh),
            "state": "".join(path.read_text() for path in (mesh.directory / "state" / "sage").glob("*.json")),
            "refusal": str(refusal),
        }
        for arguments in (
            ("config", "show"),
            ("config", "show", "--json"),
            ("engine", "list", "--json"),
            ("status", "--json"),
        ):
            done = sage(mesh, *arguments, key=OPERATOR)
            seen[" ".join(arguments)] = done.stdout + done.stderr
        for path in ("engines", "status", "decisions/nobody"):
            seen[path] = json.dumps(http(mesh, "GET", f"/v1/management/{path}", OPERATOR)[1])
        # The engine has what it needs, where only its owner can read it.
        assert server.environ()["HF_TOKEN"] == HUB_TOKEN
        remove = llm_pb2.RemoveEngineRequest(engine_id="")
        for state in call(mesh, "llm-coordinator", "ListEngines", llm_pb2.ListEnginesRequest(), OPERATOR)[1].engines:
            if state.spec.implementation != "extractive":
                remove.engine_id = state.spec.engine_id
                call(mesh, "llm-coordinator", "RemoveEngine", remove, OPERATOR)
    assert "(set, not shown)" in seen["config show"]
    for secret in (*KEYS, HUB_TOKEN, UPSTREAM_KEY, mesh_token(mesh)):
        assert [place for place, text in seen.items() if secret in text] == [], secret
    assert "upstream" in seen["NATS"]
    assert "acme/tiny" in seen["command lines"]


def _command_lines() -> str:
    lines = []
    for process in psutil.process_iter():
        try:
            lines.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return "\n".join(lines)


def _server_of_fake(mesh: IsolatedMesh) -> psutil.Process:
    while True:
        for process in psutil.process_iter():
            try:
                line = process.cmdline()
                if str(FAKE) in line and "acme/tiny" in line and process.name() != "sh":
                    return process
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue


async def _everything_stored(mesh: IsolatedMesh) -> str:
    """Every message of every stream: the KV buckets, jobs and results."""
    found = []
    async with connected(mesh) as connection:
        js = connection.jetstream()
        streams: list[StreamInfo] = await js.streams_info()
        for stream in streams:
            name = str(stream.config.name)
            for sequence in range(max(1, stream.state.first_seq), stream.state.last_seq + 1):
                try:
                    message = await js.get_msg(name, sequence)
                except nats.js.errors.NotFoundError:
                    continue  # overwritten since
                found.append(f"{name} {message.subject} {message.headers} {message.data!r}")
    return "\n".join(found)


def _logs(mesh: IsolatedMesh) -> str:
    files = [*Path(mesh.directory / "state" / "sage" / "logs").rglob("*"), mesh.directory / "up.log"]
    return "\n".join(file.read_text(errors="replace") for file in files if file.is_file())
