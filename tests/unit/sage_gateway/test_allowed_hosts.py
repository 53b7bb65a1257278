"""Which hosts a gateway without API keys answers for."""

from __future__ import annotations

import socket

import aiohttp
import orjson
import pytest
from fixtures.mesh import Mesh, gateway_mesh
from fixtures.nats import NatsProcess

from sage_common.allowed_hosts import AllowedHosts
from sage_common.errors import ConfigurationError
from sage_gateway.config import GatewaySettings

ORDER = "/v1/management/engines/a/drain"


@pytest.mark.parametrize(
    "header",
    [
        "localhost",
        "LocalHost:8888",
        "localhost.:8888",
        "sage.localhost:8888",
        "127.0.0.1:8888",
        "192.168.7.20",
        "[::1]:8888",
        "[fe80::1]",
        "gateway:8888",
        "sage.example.com",
        "a.b.example.org:443",
        "",
    ],
)
def test_a_host_of_ours_is_allowed(header: str) -> None:
    assert AllowedHosts(["gateway", "Sage.example.com", "*.example.org"]).allow(header)


@pytest.mark.parametrize(
    "header",
    [
        "evil.example",
        "evil.example:8888",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "gateway.evil.example",
        "evilexample.org",
        "example.org",
        "localhost@evil.example",
        "evil.example/localhost",
        "localhost:port",
        "[::1].evil.example",
        ":8888",
        " ",
    ],
)
def test_a_host_of_others_is_not(header: str) -> None:
    assert not AllowedHosts(["gateway", "*.example.org"]).allow(header)


def test_a_star_allows_every_host() -> None:
    assert AllowedHosts(["*"]).allow("evil.example")


def test_a_name_given_as_it_is_allows_itself_only() -> None:
    hosts = AllowedHosts([], ["*.evil.example", "::", "machine"])
    assert hosts.allow("machine:8888")
    assert not hosts.allow("a.evil.example")


@pytest.mark.parametrize("pattern", ["http://gateway", "gateway:8888", "*gateway", "a.*.example", "a/b", ""])
def test_a_pattern_that_is_no_name_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="SAGE_GATEWAY_ALLOWED_HOSTS"):
        AllowedHosts([pattern], setting="SAGE_GATEWAY_ALLOWED_HOSTS")


def test_a_gateway_knows_the_names_it_is_called_by() -> None:
    settings = GatewaySettings(host="gpu1.lab.example", advertise_host="sage.lab.example")
    hosts = AllowedHosts(settings.allowed_hosts, settings.own_hosts)
    machine = socket.gethostname().partition(".")[0]
    for name in ("gpu1.lab.example", "sage.lab.example", machine, "host.docker.internal", "host.containers.internal"):
        assert hosts.allow(f"{name}:8888"), name


def test_a_gateway_does_not_take_names_for_its_own_that_the_network_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu1.lab.example")
    settings = GatewaySettings()
    hosts = AllowedHosts(settings.allowed_hosts, settings.own_hosts)
    assert hosts.allow("gpu1:8888")
    for name in ("gpu1.lab.example", "gpu1.local", "gateway", "evil.internal", "a.host.docker.internal"):
        assert not hosts.allow(f"{name}:8888"), name


@pytest.mark.parametrize(
    ("method", "path"), [("POST", ORDER), ("GET", "/v1/models"), ("POST", "/v1/embeddings"), ("GET", "/metrics")]
)
async def test_a_page_whose_name_came_to_mean_this_machine_is_refused(
    mesh: Mesh, http: aiohttp.ClientSession, method: str, path: str
) -> None:
    rebound = f"evil.example:{mesh.port}"
    headers = {"host": rebound, "origin": f"http://{rebound}"}
    async with http.request(method, path, headers=headers, data=b"{}") as response:
        error = orjson.loads(await response.read())["error"]
    assert (response.status, error["code"], error["type"]) == (403, "host_not_allowed", "permission_error")
    assert "SAGE_GATEWAY_ALLOWED_HOSTS" in error["message"]
    assert response.headers["x-request-id"]
    assert response.headers["connection"] == "close"


async def test_a_page_of_the_gateway_itself_may_give_orders(mesh: Mesh, http: aiohttp.ClientSession) -> None:
    ours = f"localhost:{mesh.port}"
    async with http.post(ORDER, headers={"host": ours, "origin": f"http://{ours}"}) as response:
        # No coordinator is there to ask.
        assert response.status not in (401, 403)


async def test_a_gateway_with_keys_answers_for_every_host(nats_server: NatsProcess) -> None:
    async with gateway_mesh(nats_server, api_keys={"k": "acme"}) as mesh, aiohttp.ClientSession(mesh.url) as http:
        headers = {"host": "sage.example.com", "authorization": "Bearer k"}
        async with http.get("/v1/models", headers=headers) as response:
            assert response.status == 200


async def test_a_reverse_proxys_name_can_be_given(nats_server: NatsProcess) -> None:
    async with (
        gateway_mesh(nats_server, allowed_hosts=["sage.example.com"]) as mesh,
        aiohttp.ClientSession(mesh.url) as http,
        http.get("/v1/models", headers={"host": "sage.example.com"}) as response,
    ):
        assert response.status == 200
