"""Whose requests the management API lists, and how many."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from fixtures.mesh import gateway_mesh
from fixtures.nats import NatsProcess
from fixtures.seen_requests import view

from sage_client.http import HttpTransport
from sage_client.management.mesh_management import MeshManagement
from sage_client.management.request_list import RequestList
from sage_client.management.rest_management import RestManagement
from sage_client.management.views import PoolView, RequestView
from sage_common.errors import InvalidRequestError, UnauthenticatedError

KEYS = {"k-acme": "acme", "k-ops": "ops"}
Asked = list[dict[str, Any]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    calls: Asked = []

    async def latest(self: RequestList, **query: Any) -> list[RequestView]:
        calls.append(query)
        return [view(tenant=query["tenant"] or "anybody", correlation_id="mine")]

    async def pools(self: MeshManagement) -> list[PoolView]:
        return [PoolView("main", "hybrid", "s1", queued=3)]

    monkeypatch.setattr(RequestList, "latest", latest)
    monkeypatch.setattr(MeshManagement, "pools", pools)
    return calls


@pytest.fixture
async def url(nats_server: NatsProcess, asked: Asked) -> AsyncIterator[str]:
    async with gateway_mesh(nats_server, api_keys=KEYS, operators=("ops",)) as mesh:
        yield mesh.url


async def listed(url: str, key: str, **query: Any) -> list[RequestView]:
    transport = HttpTransport(url, api_key=key)
    try:
        return await RestManagement(transport).requests(**query)
    finally:
        await transport.close()


async def test_a_tenant_lists_its_own_and_an_operator_all_or_one_tenants(url: str, asked: Asked) -> None:
    [mine] = await listed(url, "k-acme", tenant="other")
    assert mine == view(tenant="acme", correlation_id="mine")
    await listed(url, "k-ops")
    await listed(url, "k-ops", tenant="acme", changed_within_ms=3000, limit=10_000)
    assert asked == [
        {"tenant": "acme", "changed_within_ms": 0, "limit": 500},
        {"tenant": None, "changed_within_ms": 0, "limit": 500},
        {"tenant": "acme", "changed_within_ms": 3000, "limit": 10_000},
    ]


async def test_without_a_key_nothing_is_listed_and_a_number_is_one(url: str, asked: Asked) -> None:
    with pytest.raises(UnauthenticatedError):
        await listed(url, "")
    with pytest.raises(InvalidRequestError, match="limit is 'many'"):
        await listed(url, "k-ops", limit="many")
    assert asked == []


async def test_pools_are_listed_for_every_caller(url: str) -> None:
    headers = {"authorization": "Bearer k-acme"}
    async with aiohttp.ClientSession() as http, http.get(f"{url}/v1/management/pools", headers=headers) as response:
        [pool] = (await response.json())["data"]
    assert (pool["pool"], pool["leader"], pool["queued"]) == ("main", "s1", 3)
