"""Servers whose API lies elsewhere, whose list has another shape or is missing, and whose health is dear."""

from __future__ import annotations

import orjson
import pytest
from fixtures.eventually import eventually
from fixtures.outside_mesh import Outside
from fixtures.outside_server import MODEL, Asked, OutsideServer, Wire, answer, says

from sage_mesh.upstream.base_url import server_urls
from sage_mesh.upstream.model_list import read_model_list
from sage_mesh.upstream.upstream import NotServingError, Upstream, UpstreamTimeouts

LIST = {"data": [{"id": MODEL}]}


@pytest.mark.parametrize(
    ("base", "api"),
    [
        ("", "/v1"),
        ("/v1", "/v1"),
        ("/v1/", "/v1"),
        ("/openai/v1", "/openai/v1"),
        ("/openai", "/openai/v1"),
        ("/api/v3", "/api/v3"),
        ("/api/paas/v4", "/api/paas/v4"),
        ("/v1beta/openai", "/v1beta/openai"),
        ("/compatible-mode/v1", "/compatible-mode/v1"),
        ("/dev1/serve", "/dev1/serve/v1"),
    ],
)
async def test_a_base_that_names_its_version_is_taken_as_it_is(outside: Outside, base: str, api: str) -> None:
    server = OutsideServer()
    server.get = {f"{api}/models": says(LIST)}
    await outside.run(server)
    await outside.attach(server, base)
    assert (await outside.ask()).text == "hello"
    assert server.asked[0].path == f"{api}/chat/completions"


async def test_an_api_without_a_version_is_found(outside: Outside) -> None:
    server = OutsideServer()
    server.get = {"/models": says(LIST)}
    await outside.run(server)
    await outside.attach(server, "")
    assert (await outside.ask()).text == "hello"
    assert server.asked[0].path == "/chat/completions"


def test_what_lies_beside_the_api_is_beside_its_version() -> None:
    roots = {
        base: server_urls(f"http://v1.example.com{base}").root for base in ("/v1", "/a/v3", "/v1beta/openai", "/x")
    }
    assert [root.removeprefix("http://v1.example.com") for root in roots.values()] == ["", "/a", "", "/x"]


@pytest.mark.parametrize(
    "models",
    [
        [{"id": MODEL}],
        [MODEL],
        {"models": [{"name": MODEL}]},
        {"object": "list", "data": [{"id": None}, {"id": MODEL}, 7]},
        {"data": [{"id": MODEL}, {"id": MODEL}]},
    ],
)
async def test_a_list_in_another_shape_is_read(outside: Outside, models: object) -> None:
    await outside.serve(models=models)
    assert (await outside.ask()).text == "hello"


KINDS = [
    {"id": "a-chat", "type": "chat"},
    {"id": "an-embedder", "type": "embedding"},
    {"id": "text-embedding-3-small"},
    {"id": "mistral", "capabilities": {"completion_chat": True, "fine_tuning": False}},
    {"id": "nomic", "capabilities": ["embedding"]},
    {"id": "bge", "task": "feature-extraction"},
    {"id": "painter", "type": "image"},
    {"id": "plain", "object": "model"},
]


def test_several_kinds_in_one_list_are_told_apart() -> None:
    kinds = {card.name: sorted(kind.name for kind in card.kinds) for card in read_model_list(orjson.dumps(KINDS))}
    llm, embedding = ["LLM_CHAT", "LLM_GENERATE"], ["EMBEDDING"]
    assert kinds == {
        "a-chat": llm,
        "an-embedder": embedding,
        "text-embedding-3-small": embedding,
        "mistral": llm,
        "nomic": embedding,
        "bge": embedding,
        "painter": [],
        "plain": llm,
    }


async def test_each_of_them_is_asked_for_its_own_work(outside: Outside) -> None:
    async def both(wire: Wire, asked: Asked) -> None:
        if asked.path.endswith("/embeddings"):
            await wire.json({"object": "list", "data": [{"index": 0, "embedding": [1.0]}], "model": "e"})
        else:
            await answer(wire, asked)

    await outside.serve(both, models={"data": [{"id": MODEL, "type": "chat"}, {"id": "unsaid"}, {"id": "my-embed"}]})
    assert (await outside.ask()).text == "hello"
    assert (await outside.ask(path="/v1/embeddings", model="my-embed", input="x")).status == 200
    refused = await outside.ask(path="/v1/embeddings", model="unsaid", input="x")
    assert refused.status == 400
    assert "'kinds'" in refused.error["message"]
    assert "'embedding'" in refused.error["message"]


async def test_litellm_is_known_and_its_health_not_asked(outside: Outside) -> None:
    server = OutsideServer()
    server.get |= {"/health/liveliness": says("I'm alive!"), "/health": says({"healthy_endpoints": []})}
    await outside.run(server)
    await outside.attach(server)
    await eventually(lambda: server.paths.count("/health/liveliness") >= 3, seconds=5)
    assert "/health" not in server.paths


async def test_a_health_that_is_dear_can_be_left_alone(outside: Outside) -> None:
    async def slow(wire: Wire, _asked: Asked) -> None:
        await wire.until_closed()

    for path in ("", "/ping"):
        server = OutsideServer()
        server.get |= {"/health": slow, "/health/liveliness": slow, "/ping": says("pong")}
        await outside.run(server)
        await outside.attach(server, health_path=path)
        assert not [asked for asked in server.paths if asked.startswith("/health")]


@pytest.mark.parametrize("page", [says({"error": "no"}, 404), says({"a": "page"}), says("x", 405)])
async def test_models_are_given_where_the_server_has_no_list(outside: Outside, page: object) -> None:
    server = OutsideServer()
    server.get = {"/v1/models": page}  # type: ignore[dict-item]
    await outside.run(server)
    await outside.attach(server, given_models=(MODEL, "my-embedder"))
    assert (await outside.ask()).text == "hello"
    kinds = {card.name: len(card.kinds) for card in outside.engines[0].spec.models}
    assert kinds == {MODEL: 2, "my-embedder": 1}


async def test_without_either_the_setting_is_named(outside: Outside) -> None:
    server = OutsideServer()
    server.get = {}
    await outside.run(server)
    upstream = Upstream(server.url, api_key="", max_concurrency=1, timeouts=UpstreamTimeouts())
    upstream.open()
    with pytest.raises(NotServingError, match="'models'"):
        await upstream.models()
    await upstream.close()


async def test_given_models_take_what_the_list_says_of_them(outside: Outside) -> None:
    models = {"data": [{"id": MODEL, "max_model_len": 99, "owned_by": "vllm"}, {"id": "other"}]}
    await outside.serve(models=models, given_models=(MODEL,))
    (card,) = outside.engines[0].spec.models
    assert (card.name, card.max_context_tokens, card.owned_by) == (MODEL, 99, "vllm")
