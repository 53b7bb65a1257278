"""Adapters are models of their engine, and a server that may loads and unloads them while it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from sage_common.errors import EngineFailedError, InvalidRequestError, NotFoundError, UnprocessableError
from sage_control_plane.request.engine_state import EnginePhase
from sage_llm_coordinator.engines.openai_engine import OpenAiEngine
from sage_llm_coordinator.engines.wanted_adapters import Adapter, WantedAdapters

Make = Callable[..., OpenAiEngine]
Eventually = Callable[..., Awaitable[None]]


class Server:
    """What vLLM does with adapters."""

    def __init__(self, upstream: Any) -> None:
        self._upstream = upstream
        self.adapters = {"polite": "/adapters/polite"}
        upstream.models = self.models
        upstream.completions = self.post

    async def models(self, _request: web.Request) -> web.StreamResponse:
        cards = [{"id": name, "owned_by": "vllm", "parent": "big"} for name in self.adapters]
        other = [{"id": "small", "owned_by": "vllm", "parent": None}]
        return web.json_response({"data": [*cards, {"id": "big", "owned_by": "vllm", "parent": None}, *other]})

    async def post(self, _request: web.Request) -> web.StreamResponse:
        order = orjson.loads(self._upstream.bodies[-1])
        name = order["lora_name"]
        if self._upstream.paths[-1] == "/v1/unload_lora_adapter":
            if self.adapters.pop(name, None) is None:
                error = {"message": f"The lora adapter '{name}' cannot be found.", "type": "NotFoundError", "code": 404}
                return web.json_response({"error": error}, status=404)
        elif order["lora_path"].startswith("/adapters"):
            self.adapters[name] = order["lora_path"]
        else:
            error = {"message": f"Loading lora {name} failed: No adapter found", "code": 400}
            return web.json_response({"error": error}, status=400)
        return web.Response(text="Success")


async def test_the_adapters_of_an_engines_only_model_are_its_models_too(upstream: Any, make_engine: Make) -> None:
    Server(upstream)
    engine = make_engine(only_model="big", aliases=("best",))
    await engine.start()
    assert [(card.name, card.parent) for card in engine.spec.models] == [("big", ""), ("polite", "big")]
    assert engine.spec.models[0].aliases == ("best",)


async def test_what_is_loaded_is_served_at_once_and_what_is_unloaded_no_more(upstream: Any, make_engine: Make) -> None:
    Server(upstream)
    engine = make_engine(only_model="big")
    await engine.start()
    assert engine.lora is not None
    await engine.lora.load("terse", "/adapters/terse")
    assert orjson.loads(upstream.bodies[0]) == {"lora_name": "terse", "lora_path": "/adapters/terse"}
    assert {card.name for card in engine.spec.models} == {"big", "polite", "terse"}
    await engine.lora.unload("polite")
    assert {card.name for card in engine.spec.models} == {"big", "terse"}


async def test_what_the_server_says_of_a_wrong_adapter_is_said(upstream: Any, make_engine: Make) -> None:
    Server(upstream)
    engine = make_engine(only_model="big")
    await engine.start()
    assert engine.lora is not None
    with pytest.raises(InvalidRequestError, match="No adapter found"):
        await engine.lora.load("terse", "/nowhere")
    with pytest.raises(NotFoundError, match="cannot be found"):
        await engine.lora.unload("terse")
    with pytest.raises(InvalidRequestError):
        await engine.lora.load("", "/adapters/x")


async def test_a_server_that_may_not_load_adapters_is_named_with_the_remedy(upstream: Any, make_engine: Make) -> None:
    async def no_such_path(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"detail": "Not Found"}, status=404)

    upstream.completions = no_such_path
    engine = make_engine()
    await engine.start()
    assert engine.lora is not None
    with pytest.raises(UnprocessableError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        await engine.lora.load("terse", "/adapters/terse")


async def restarted(upstream: Any, server: Server, engine: OpenAiEngine, eventually: Eventually) -> None:
    """The server was away, and has nothing of what it had loaded."""
    await upstream.stop()
    await eventually(lambda: engine.phase is EnginePhase.UNHEALTHY)
    server.adapters.clear()
    upstream.bodies.clear()
    await upstream.start()
    await eventually(lambda: engine.phase is EnginePhase.READY)


async def test_a_server_that_was_away_gets_back_in_order_what_it_was_ordered_to_load_and_nothing_else(
    upstream: Any, make_engine: Make, eventually: Eventually
) -> None:
    server = Server(upstream)
    engine = make_engine(only_model="big")
    await engine.start()
    assert engine.lora is not None
    for name in ("terse", "formal", "odd"):
        await engine.lora.load(name, f"/adapters/{name}")
    await engine.lora.unload("formal")
    await restarted(upstream, server, engine, eventually)
    # What it had of its own accord, it has to get so again.
    assert list(server.adapters) == ["terse", "odd"]
    assert [card.name for card in engine.spec.models] == ["big", "terse", "odd"]
    assert engine.reason == ""


async def test_an_adapter_that_cannot_be_loaded_again_is_named_until_it_can_or_is_unloaded(
    upstream: Any, make_engine: Make, eventually: Eventually
) -> None:
    server = Server(upstream)
    wanted = WantedAdapters([Adapter("lost", "/nowhere"), Adapter("terse", "/adapters/terse")])
    engine = make_engine(only_model="big", adapters=wanted)
    await engine.start()
    assert engine.lora is not None
    assert engine.phase is EnginePhase.READY
    assert "without the adapter 'lost'" in engine.reason
    assert "No adapter found" in engine.reason
    assert "terse" in server.adapters
    await engine.lora.load("lost", "/adapters/lost")
    assert engine.reason == ""
    await restarted(upstream, server, engine, eventually)
    assert list(server.adapters) == ["terse", "lost"]


async def test_what_is_only_wanted_can_be_unloaded(upstream: Any, make_engine: Make) -> None:
    Server(upstream)
    wanted = WantedAdapters([Adapter("lost", "/nowhere")])
    engine = make_engine(only_model="big", adapters=wanted)
    await engine.start()
    assert engine.lora is not None
    await engine.lora.unload("lost")
    assert (engine.reason, wanted.all) == ("", ())
    with pytest.raises(NotFoundError):
        await engine.lora.unload("lost")


async def test_a_list_that_fails_after_an_order_was_carried_out_is_the_engines_failure(
    upstream: Any, make_engine: Make
) -> None:
    server = Server(upstream)
    wanted = WantedAdapters()
    engine = make_engine(only_model="big", adapters=wanted)
    await engine.start()
    assert engine.lora is not None

    async def broken(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    upstream.models = broken
    with pytest.raises(EngineFailedError, match="did not list its models"):
        await engine.lora.load("terse", "/adapters/terse")
    assert "terse" in server.adapters
    assert wanted.all == (Adapter("terse", "/adapters/terse"),)
