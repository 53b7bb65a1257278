"""Who may do what over the management API, and what it says when the services are not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from fixtures.mesh import gateway_mesh
from fixtures.nats import NatsProcess

from sage_client.management.mesh_management import MeshManagement
from sage_client.management.translation import engine_view
from sage_client.management.views import EngineRegistration, EngineView, Explanation, PolicyChange
from sage_common.errors import NotFoundError
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, EngineState

TOLD = Explanation("r", "s1", "finished", "acme", None, "fifo", "", 9, 1, 0.1, "a", None, None, 5.0, (), "", "")
KEYS = {"k-acme": "acme", "k-other": "other", "k-ops": "ops"}


@pytest.fixture
async def http(nats_server: NatsProcess, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[aiohttp.ClientSession]:
    async def explain(self: MeshManagement, request_id: str, tenant: str | None = None) -> list[Explanation]:
        return [TOLD, replace(TOLD, scheduler_id="s2", tenant="", correlation_id="r")]

    monkeypatch.setattr(MeshManagement, "explain", explain)
    async with (
        gateway_mesh(nats_server, api_keys=KEYS, operators=("ops",)) as mesh,
        aiohttp.ClientSession(mesh.url) as session,
    ):
        yield session


async def ask(
    http: aiohttp.ClientSession, method: str, path: str, key: str, body: object = None
) -> tuple[int, dict[str, Any]]:
    headers = {"authorization": f"Bearer {key}"}
    async with http.request(method, f"/v1/management/{path}", json=body, headers=headers) as response:
        return response.status, await response.json()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "policy", {"policy": "fifo"}),
        ("POST", "engines", {"url": "http://127.0.0.1:1"}),
        ("POST", "engines", {"model": "acme/tiny", "preset": "cpu-tiny"}),
        ("POST", "engines/a/drain", None),
        ("POST", "engines/a/restart", None),
        ("GET", "engines/a/logs", None),
        ("DELETE", "engines/a", None),
    ],
)
async def test_a_tenant_gives_no_orders_and_an_operator_does(
    http: aiohttp.ClientSession, method: str, path: str, body: object
) -> None:
    status, answer = await ask(http, method, path, "k-acme", body)
    assert (status, answer["error"]["code"]) == (403, "operators_only")
    status, answer = await ask(http, method, path, "k-ops", body)
    # Past the door: this mesh has no scheduler and no coordinator to carry the order out.
    assert (status, answer["error"]["code"]) == (503, "unavailable")
    assert "is registered" in answer["error"]["message"]


async def test_settings_of_a_policy_are_passed_on_and_what_is_no_number_is_refused(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, dict[str, float]]] = []

    async def set_policy(self: MeshManagement, policy: str, pool: str, settings: dict[str, float]) -> PolicyChange:
        asked.append((policy, pool, settings))
        return PolicyChange(pool or None, "fifo", policy)

    monkeypatch.setattr(MeshManagement, "set_policy", set_policy)
    order = {"policy": "hybrid", "pool": "main", "settings": {"margin": 0.1, "lead_seconds": 2}}
    assert (await ask(http, "PUT", "policy", "k-ops", order))[0] == 200
    assert (await ask(http, "PUT", "policy", "k-ops", {"policy": "fifo"}))[0] == 200
    assert asked == [("hybrid", "main", {"margin": 0.1, "lead_seconds": 2.0}), ("fifo", "", {})]
    status, answer = await ask(http, "PUT", "policy", "k-ops", {"policy": "hybrid", "settings": {"margin": "wide"}})
    assert (status, "settings.margin" in answer["error"]["message"]) == (400, True), answer
    assert len(asked) == 2


async def test_a_tenant_sees_its_own_decisions_and_an_operator_all(http: aiohttp.ClientSession) -> None:
    status, answer = await ask(http, "GET", "decisions/r", "k-acme")
    assert status == 200
    assert [decision["scheduler_id"] for decision in answer["decisions"]] == ["s1"]
    status, answer = await ask(http, "GET", "decisions/r", "k-other")
    assert (status, answer["error"]["code"]) == (404, "request_not_found")
    status, answer = await ask(http, "GET", "decisions/r", "k-ops")
    assert [decision["scheduler_id"] for decision in answer["decisions"]] == ["s1", "s2"]
    assert [(one["request_id"], one["correlation_id"]) for one in answer["decisions"]] == [("r", None), ("r", "r")]


async def test_the_schedulers_are_asked_for_the_requests_of_a_keys_tenant_only(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    async def explain(self: MeshManagement, request_id: str, tenant: str | None = None) -> list[Explanation]:
        asked.append(tenant)
        return [TOLD]

    monkeypatch.setattr(MeshManagement, "explain", explain)
    await ask(http, "GET", "decisions/r", "k-acme")
    await ask(http, "GET", "decisions/r", "k-ops")
    assert asked == ["acme", None]


async def test_a_server_is_taken_in_with_all_that_can_be_said_of_it(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[EngineRegistration] = []

    async def register_engine(self: MeshManagement, registration: EngineRegistration) -> None:
        asked.append(registration)
        raise NotFoundError("no coordinator")

    monkeypatch.setattr(MeshManagement, "register_engine", register_engine)
    order = {"url": "http://e:1", "engine_id": "e", "api_key": "k", "pool": "p", "max_concurrency": 3}
    order |= {"kinds": ["chat"], "aliases": ["best"], "models": ["a", "b"], "health_path": "/ping"}
    await ask(http, "POST", "engines", "k-ops", order)
    await ask(http, "POST", "engines", "k-ops", {"url": "http://e:1", "health_path": ""})
    named = EngineRegistration("http://e:1", "e", "k", "p", 3, ("chat",), ("best",), ("a", "b"), "/ping")
    assert asked == [named, EngineRegistration("http://e:1", health_path="")]


async def test_ids_may_hold_slashes(http: aiohttp.ClientSession) -> None:
    status, answer = await ask(http, "GET", "decisions/a/b", "k-ops")
    assert (status, answer["request_id"]) == (200, "a/b")
    status, answer = await ask(http, "POST", "engines/org/model-1/drain", "k-ops")
    assert status == 503


async def test_engines_are_listed_from_their_heartbeats_while_no_scheduler_answers(
    http: aiohttp.ClientSession,
) -> None:
    status, answer = await ask(http, "GET", "engines", "k-acme")
    (engine,) = answer["data"]
    assert (status, engine["phase"], engine["breaker"], engine["draining"]) == (200, "ready", "", False)


async def test_a_page_of_another_site_gives_no_orders(http: aiohttp.ClientSession) -> None:
    headers = {"authorization": "Bearer k-ops", "origin": "https://elsewhere.example"}
    async with http.post("/v1/management/engines/a/drain", headers=headers) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (403, "cross_origin")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"preset": "cpu-tini", "model": "m"}, 404, "did you mean 'cpu-tiny'"),
        ({"url": "http://127.0.0.1:1", "device": "cpu"}, 400, "device goes with a model to start"),
        ({"model": "m", "api_key": "k"}, 400, "api_key goes with the url"),
        ({}, 400, "names no model"),
    ],
)
async def test_an_order_for_an_engine_that_makes_none_is_refused(
    http: aiohttp.ClientSession, body: dict[str, str], status: int, message: str
) -> None:
    answered, answer = await ask(http, "POST", "engines", "k-ops", body)
    assert (answered, message in answer["error"]["message"]) == (status, True), answer


async def test_the_presets_are_listed(http: aiohttp.ClientSession) -> None:
    status, answer = await ask(http, "GET", "engine_presets", "k-acme")
    assert status == 200
    assert "cpu-tiny" in [preset["preset"] for preset in answer["data"]]


async def test_a_servers_last_words_are_for_operators(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "given up: vLLM ended with status 7; its last words:\na prompt of another tenant"
    state = EngineState(EngineSpec("a", "vllm", ()), phase=EnginePhase.UNHEALTHY, reason=reason)

    async def engines(self: MeshManagement) -> list[EngineView]:
        return [engine_view(state)]

    monkeypatch.setattr(MeshManagement, "engines", engines)
    _, told = await ask(http, "GET", "engines", "k-acme")
    assert told["data"][0]["reason"] == "given up: vLLM ended with status 7; its last words:"
    _, told = await ask(http, "GET", "engines", "k-ops")
    assert told["data"][0]["reason"] == reason
