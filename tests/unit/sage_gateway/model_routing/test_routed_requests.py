"""Requests for model routes at a gateway, with a real scheduler and engines that do as the test says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
import pytest
from fixtures.batch_client import chat_line, client_of, ended_batch, started_batch
from fixtures.engines import CHAT_MODEL, EMBEDDING_MODEL, FakeEngine
from fixtures.eventually import eventually
from fixtures.mesh import Mesh, gateway_mesh, open_mesh, until
from fixtures.nats import NatsProcess

from sage_common.errors import ContendedError, EngineFailedError, InvalidRequestError, SageError
from sage_common.model_routes import ModelRoute
from sage_common.prices import Price
from sage_common.tenants import Tenant, checked
from sage_control_plane.request.engine_state import EnginePhase
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.reply import Media, TokenUsage

CHAT = "/v1/chat/completions"
TOO_LONG = InvalidRequestError("this model takes 16 tokens", code="context_length_exceeded")
BUSY = ContendedError("the engine is busy", upstream_status=429)
ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}


def event(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


async def say_its_name(job: EngineRequest, reply: ReplyWriter) -> None:
    """Answer with the model's name and what the body asks for."""
    body = orjson.loads(job.body)
    said = f"{job.model} {body.get('temperature')} {body.get('max_tokens')}"
    usage = TokenUsage(7, 2)
    if body.get("stream"):
        reply.head(Media.EVENT_STREAM)
        reply.data(event({"model": job.model, **ROLE}))
        reply.data(event({"model": job.model, "choices": [{"index": 0, "delta": {"content": said}}]}))
        counts = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
        reply.data(event({"model": job.model, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        reply.data(event({"model": job.model, "choices": [], "usage": counts}) + b"data: [DONE]\n\n")
    else:
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        reply.head(Media.JSON)
        reply.data(orjson.dumps({"id": "a", "object": "chat.completion", "model": job.model, "choices": [choice]}))
    reply.usage(usage)


def fail_with(error: SageError, after: bytes = b"") -> Any:
    async def behave(job: EngineRequest, reply: ReplyWriter) -> None:
        if after:
            reply.head(Media.EVENT_STREAM)
            reply.data(after)
        raise error

    return behave


class Models:
    """Two models on an engine each, and the routes of one test."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.mark = os.urandom(3).hex()
        self.name = f"best-{self.mark}"

    @property
    def big(self) -> FakeEngine:
        return self.mesh.engines[0]  # type: ignore[no-any-return]

    @property
    def small(self) -> FakeEngine:
        return self.mesh.engines[1]  # type: ignore[no-any-return]

    async def set(self, name: str = "", **fields: Any) -> None:
        """Store a route; by default from ``best`` to ``big``, and to ``small`` behind it."""
        values = {"targets": [{"model": "big"}], "fallbacks": [{"model": "small"}], **fields}
        route = checked(ModelRoute, {"name": name or self.name, **values})
        await self.mesh.routings[0].routes.put(route)

    async def ask(self, path: str = CHAT, **fields: Any) -> tuple[int, dict[str, Any]]:
        asked = {} if "input" in fields else {"messages": [{"role": "user", "content": "hi"}]}
        body = {"model": self.name, **asked, **fields}
        async with (
            aiohttp.ClientSession(self.mesh.url, headers={"x-sage-tenant": self.mark}) as http,
            http.post(path, json=body) as response,
        ):
            return response.status, await response.json()

    async def stream(self, **fields: Any) -> str:
        body = {"model": self.name, "messages": [{"role": "user", "content": "hi"}], "stream": True, **fields}
        async with aiohttp.ClientSession(self.mesh.url) as http, http.post(CHAT, json=body) as response:
            return (await response.read()).decode()

    async def said(self, **fields: Any) -> str:
        status, answer = await self.ask(**fields)
        assert status == 200, answer
        return str(answer["choices"][0]["message"]["content"])


@pytest.fixture
async def models(nats_server: NatsProcess) -> AsyncIterator[Models]:
    name = os.urandom(3).hex()
    async with open_mesh(nats_server, name) as mesh:
        big = FakeEngine(f"big-{name}", say_its_name, model="big", max_concurrency=1)
        # In a pool of its own, whose queue is full by itself.
        big._spec = replace(big.spec, pool=f"own-{name}")
        await mesh.host(big, FakeEngine(f"small-{name}", say_its_name, model="small"))
        await mesh.scheduler(f"scheduler-{name}", class_max_queued={"bulk": 1})
        await mesh.gateway(tenancy=True)
        yield Models(mesh)


async def test_an_alias_is_answered_by_its_model_which_the_answer_names(models: Models) -> None:
    await models.set(targets=[{"model": "small"}], fallbacks=[])
    status, answer = await models.ask()
    assert (status, answer["model"]) == (200, "small")
    await models.set(targets=[{"model": "big"}], fallbacks=[])
    assert (await models.ask())[1]["model"] == "big"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TOO_LONG, "context_length"),
        (BUSY, "refusal"),
        (EngineFailedError("the engine broke", retryable=True), "failure"),
    ],
)
async def test_another_model_answers_where_the_first_cannot(models: Models, error: SageError, reason: str) -> None:
    await models.set()
    models.big.behaviour = fail_with(error)
    assert (await models.said()).startswith("small")
    assert "small" in await models.stream()
    async with aiohttp.ClientSession(models.mesh.url) as http, http.get("/metrics") as response:
        counted = f'sage_gateway_model_fallbacks_total{{reason="{reason}",route="{models.name}"}} 2.0'
        assert counted in await response.text()


async def test_another_model_answers_what_the_queue_refuses(models: Models) -> None:
    await models.set(defaults={"service_class": "bulk"})
    release = asyncio.Event()

    async def wait(job: EngineRequest, reply: ReplyWriter) -> None:
        await release.wait()
        await say_its_name(job, reply)

    models.big.behaviour = wait
    runs = asyncio.create_task(models.said())
    await asyncio.wait_for(models.big.job_arrived.wait(), 5)
    queued = [asyncio.create_task(models.said()) for _ in range(2)]
    done, _ = await asyncio.wait(queued, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    assert {task.result()[:5] for task in done} == {"small"}
    release.set()
    said = sorted(text[:3] for text in await asyncio.gather(runs, *queued))
    assert said == ["big", "big", "sma"]


async def test_a_gateway_that_stops_ends_what_it_waits_for(models: Models) -> None:
    await models.set()

    async def wait(job: EngineRequest, reply: ReplyWriter) -> None:
        await asyncio.Event().wait()

    models.big.behaviour = wait
    asking = asyncio.create_task(models.ask())
    await asyncio.wait_for(models.big.job_arrived.wait(), 5)
    await models.mesh.edge.close()
    status, answer = await asyncio.wait_for(asking, 5)
    assert (status, answer["error"]["code"]) == (503, "edge_stopping")
    assert models.small.jobs == []


async def test_an_error_that_no_fallback_is_for_is_the_callers(models: Models) -> None:
    await models.set(fallbacks=[{"model": "small", "on": ["refusal", "failure"]}])
    models.big.behaviour = fail_with(TOO_LONG)
    status, answer = await models.ask()
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert models.small.jobs == []


async def test_the_last_models_error_names_those_before_it(models: Models) -> None:
    await models.set()
    models.big.behaviour = fail_with(TOO_LONG)
    models.small.behaviour = fail_with(EngineFailedError("it broke"))
    status, answer = await models.ask()
    assert status == 502
    assert "it broke; before it, model route" in answer["error"]["message"]
    assert "'big' (context_length_exceeded)" in answer["error"]["message"]


async def test_a_stream_falls_back_after_a_role_and_never_after_content(models: Models) -> None:
    await models.set()
    models.big.behaviour = fail_with(EngineFailedError("it broke"), event({"model": "big", **ROLE}))
    streamed = await models.stream()
    assert ("small None" in streamed, '"big"' in streamed) == (True, False)
    content = event({"model": "big", "choices": [{"index": 0, "delta": {"content": "I am"}}]})
    models.big.behaviour = fail_with(EngineFailedError("it broke"), content)
    asked = len(models.small.jobs)
    streamed = await models.stream()
    assert ("I am" in streamed, '"error"' in streamed, "small" in streamed) == (True, True, False)
    assert len(models.small.jobs) == asked


async def test_a_model_whose_engine_is_not_ready_is_passed_over_at_once(models: Models) -> None:
    await models.set()
    models.big.phase = EnginePhase.STARTING
    await until(lambda: not models.mesh.directory.catalog.entries[0].ready_kinds)
    assert (await models.said()).startswith("small")
    assert models.big.jobs == []
    await models.set(targets=[{"model": "gone"}])
    assert (await models.said()).startswith("small")


async def test_defaults_are_overridden_by_the_request(models: Models) -> None:
    await models.set(defaults={"temperature": 0.5, "max_tokens": 11})
    assert await models.said() == "big 0.5 11"
    assert await models.said(temperature=0.1, max_completion_tokens=3) == "big 0.1 None"


async def test_every_dialect_and_endpoint_resolves_the_name(models: Models) -> None:
    await models.set(targets=[{"model": "gone"}])
    status, message = await models.ask("/v1/messages", max_tokens=5)
    assert (status, message["model"], message["content"][0]["text"]) == (200, "small", "small None 5")
    status, response = await models.ask("/v1/responses", input="hi", store=False)
    assert (status, response["output"][0]["content"][0]["text"]) == (200, "small None None")
    status, counted = await models.ask("/v1/messages/count_tokens")
    assert (status, counted["input_tokens"] > 0) == (200, True)


async def test_a_split_keeps_a_user_and_spreads_the_rest(models: Models) -> None:
    await models.set(targets=[{"model": "big", "weight": 1}, {"model": "small", "weight": 1}], fallbacks=[])
    assert {(await models.said(user="ada"))[:3] for _ in range(6)} in ({"big"}, {"sma"})
    assert {(await models.said())[:3] for _ in range(24)} == {"big", "sma"}


async def test_one_reservation_is_settled_once_by_the_model_that_answered(models: Models) -> None:
    await models.set()
    tenancy = models.mesh.tenancies[0]
    for model, prompt in (("big", "10"), ("small", "1")):
        await tenancy.prices.put(checked(Price, {"model": model, "prompt": prompt, "completion": prompt}))
    limits = {"name": models.mark, "models": [models.name], "daily_tokens": 1000, "daily_money": "1"}
    tenant = await tenancy.tenants.put(checked(Tenant, limits))
    models.big.behaviour = fail_with(BUSY)
    assert (await models.said(max_tokens=20)).startswith("small")
    totals = tenancy.keeper.quota(tenant).totals()
    assert sorted(totals.values()) == [9, 9 * 1000]
    # The name is one of the tenant's models, what is behind it is not.
    assert (await models.ask(model="small"))[1]["error"]["code"] == "model_not_allowed"

    async def rows() -> list[tuple[str, str, int, int]]:
        sums = await tenancy.sums.read(models.mark)
        return [(group.model, group.route, total.requests, total.nanos) for group, total in sums.items()]

    async def is_summed() -> bool:
        return ("small", models.name, 1, 9000) in await rows()

    await eventually(is_summed, seconds=10)
    assert [row[2:] for row in await rows() if row[1]] == [(1, 9000)]


async def test_a_client_that_goes_away_stops_the_model_that_it_waits_for(models: Models) -> None:
    await models.set()

    async def wait(job: EngineRequest, reply: ReplyWriter) -> None:
        await asyncio.Event().wait()

    models.big.behaviour = fail_with(BUSY)
    models.small.behaviour = wait
    asking = asyncio.create_task(models.ask())
    await asyncio.wait_for(models.small.job_arrived.wait(), 5)
    asking.cancel()
    await asyncio.wait_for(models.small.job_cancelled.wait(), 5)
    await until(lambda: models.mesh.edge.in_flight == 0)


async def test_routes_are_listed_among_the_models(models: Models) -> None:
    await models.set()
    async with aiohttp.ClientSession(models.mesh.url) as http:
        async with http.get("/v1/models") as response:
            listed = {model["id"]: model for model in (await response.json())["data"]}
        async with http.get(f"/v1/models/{models.name}") as response:
            assert (await response.json())["targets"] == ["big", "small"]
    assert listed[models.name]["kinds"] == listed["big"]["kinds"]
    assert "targets" not in listed["big"]


async def test_embeddings_ranks_scores_completions_and_batches_resolve_the_name(nats_server: NatsProcess) -> None:
    async with gateway_mesh(nats_server, tenancy=True) as mesh:
        mesh.run_batches()
        routes, mark = mesh.routings[0].routes, os.urandom(3).hex()
        words, vectors = f"words-{mark}", f"vectors-{mark}"
        for name, model, defaults in ((words, CHAT_MODEL, {}), (vectors, EMBEDDING_MODEL, {"dimensions": 4})):
            values = {"targets": [{"model": "gone"}], "fallbacks": [{"model": model}], "defaults": defaults}
            await routes.put(checked(ModelRoute, {"name": name, **values}))
        documents = {"query": "q", "documents": ["a", "bb"]}
        pair = {"text_1": "q", "text_2": ["a", "bb"]}
        async with aiohttp.ClientSession(mesh.url) as http:
            answers = {}
            for path, fields in (
                ("/v1/completions", {"model": words, "prompt": "hello"}),
                ("/v1/embeddings", {"model": vectors, "input": "hello"}),
                ("/v1/rerank", {"model": vectors, **documents}),
                ("/v1/score", {"model": vectors, **pair}),
            ):
                async with http.post(path, json=fields) as response:
                    answers[path] = await response.json()
                    assert response.status == 200, answers
        assert answers["/v1/completions"]["choices"][0]["text"] == "HELLO"
        embedded = answers["/v1/embeddings"]
        assert (embedded["model"], len(embedded["data"][0]["embedding"])) == (EMBEDDING_MODEL, 4)
        assert answers["/v1/rerank"]["results"][0]["index"] == 1
        assert len(answers["/v1/score"]["data"]) == 2
        async with client_of(mesh.url, mark) as client:
            batch = await started_batch(client, chat_line("one", "hello there", model=words))
            ended = await ended_batch(client, batch.id)
            content = (await client.files.content(ended.output_file_id)).content
        said = orjson.loads(content)["response"]["body"]["choices"][0]["message"]["content"]
        assert said == "HELLO THERE"
