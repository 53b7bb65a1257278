"""What a browser and a program see at the root."""

from __future__ import annotations

import aiohttp
import pytest
from fixtures.mesh import Mesh, gateway_mesh
from fixtures.nats import NatsProcess


async def test_a_browser_gets_a_page_that_names_models_and_links(http: aiohttp.ClientSession, mesh: Mesh) -> None:
    async with http.get("/", headers={"accept": "text/html,application/xhtml+xml,*/*"}) as response:
        page = await response.text()
        assert response.status == 200
        assert response.content_type == "text/html"
        assert "default-src 'none'" in response.headers["content-security-policy"]
    for part in ("/v1/models", "/health", "/ready", "/metrics", f"{mesh.url}/v1", "sage chat"):
        assert part in page
    async with http.get("/v1/models") as response:
        models = [model["id"] for model in (await response.json())["data"]]
    assert models
    assert all(f"<code>{model}</code>" in page for model in models)


async def test_every_link_of_the_page_answers(http: aiohttp.ClientSession) -> None:
    async with http.get("/") as response:
        assert response.content_type == "application/json"
        value = await response.json()
    assert value["name"] == "SAGE"
    assert value["ready"] is True
    for link in value["links"].values():
        async with http.get(link) as response:
            assert response.status == 200, link


async def test_without_a_key_neither_page_nor_json_names_models_and_the_command_shown_has_a_place_for_one(
    nats_server: NatsProcess,
) -> None:
    async with gateway_mesh(nats_server, api_keys={"k": "acme"}) as mesh, aiohttp.ClientSession(mesh.url) as http:
        async with http.get("/v1/models", headers={"authorization": "Bearer k"}) as response:
            models = [model["id"] for model in (await response.json())["data"]]
        async with http.get("/") as response:
            value = await response.json()
        async with http.get("/", headers={"accept": "text/html"}) as response:
            page = await response.text()
    assert models
    assert (value["needs_api_key"], value["models"], value["reason"]) == (True, [], "")
    assert not any(model in page for model in models)
    assert "-H 'Authorization: Bearer KEY' \\\n  -d" in page


async def test_the_commands_shown_are_for_the_mesh_that_shows_them(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    for offset, command in (("0", "<code>sage chat"), ("100", "<code>sage --port-offset 100 chat")):
        monkeypatch.setenv("SAGE_PORT_OFFSET", offset)
        async with http.get("/", headers={"accept": "text/html"}) as response:
            assert command in await response.text()
