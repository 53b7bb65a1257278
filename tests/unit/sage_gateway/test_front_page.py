"""What a browser and a program see at the root."""

from __future__ import annotations

import aiohttp
from fixtures.mesh import Mesh


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
