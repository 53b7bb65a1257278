"""A real language model through the mesh: llama.cpp's server with SmolLM2-135M, started, watched and killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import openai
import psutil
import pytest
from fixtures.eventually import eventually
from fixtures.fake_vllm_mesh import replica_of
from fixtures.llamacpp_mesh import (
    MODEL,
    READY_SECONDS,
    events,
    llamacpp_mesh,
    needs_llamacpp,
    running_requests,
    servers,
)
from fixtures.process_mesh import all_ready, engines_of, listed_engines, sage, static_mesh, until_engines

from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_benchmark.live import llamacpp_pool
from sage_benchmark.live.capacities import UNTOLD
from sage_benchmark.live.comparison import ComparisonPlan
from sage_benchmark.live.llamacpp_pool import LlamacppServers
from sage_benchmark.live.policy_benchmark import PolicyOptions, run_policies
from sage_benchmark.workload.class_rates import ClassRates

pytestmark = [needs_llamacpp, pytest.mark.timeout(240)]

QUESTION = [{"role": "user", "content": "Tell me a story about a fox and a river."}]
SERVER_PORTS = "SAGE_LLM_COORDINATOR_SERVERS_PORTS"
# An answer that is under way for seconds.
LONG = 400
KILLED_AFTER = 20
BULK = {"X-Request-Priority": "background"}
# Tokens of a bulk answer that holds a slot.
HELD = 200
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer", "maximum": 99}},
    "required": ["city", "people"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    """A mesh with one engine; the tests that kill its server leave it ready."""
    with llamacpp_mesh(tmp_path_factory.mktemp("llama") / "mesh") as running:
        yield running


@pytest.fixture
def client(mesh: IsolatedMesh) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{mesh.gateway_url}/v1", api_key="none", max_retries=0, timeout=60) as opened:
        yield opened


def chat(tokens: int, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": QUESTION, "max_tokens": tokens, "temperature": 0, **fields}


def test_tokens_are_told_in_vllms_shape_and_read_back(mesh: IsolatedMesh) -> None:
    with openai.OpenAI(base_url=mesh.gateway_url, api_key="unused", max_retries=0) as client:

        def post(path: str, **body: Any) -> Any:
            return client.post(path, cast_to=dict[str, Any], body={"model": MODEL, **body})

        told = post("/tokenize", prompt="A fox and a river.", return_token_strs=True)
        assert told["count"] == len(told["tokens"]) > 3
        assert told["max_model_len"] > 0
        assert "".join(told["token_strs"]).endswith("A fox and a river.")
        assert post("/detokenize", tokens=told["tokens"])["prompt"].endswith("A fox and a river.")
        chat = post("/tokenize", messages=QUESTION)
        answer = client.with_options(base_url=f"{mesh.gateway_url}/v1").chat.completions.create(
            model=MODEL,
            messages=QUESTION,  # type: ignore[arg-type]
            max_tokens=1,
        )
        assert answer.usage is not None
        assert chat["count"] == answer.usage.prompt_tokens


def test_a_chat_is_answered_whole_and_the_same_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**chat(24))
    pieces = list(client.chat.completions.create(**chat(24), stream=True, stream_options={"include_usage": True}))
    text = "".join(choice.delta.content or "" for piece in pieces for choice in piece.choices)
    assert whole.choices[0].message.content == text
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 24
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens == 24
    assert sum(bool(piece.choices and piece.choices[0].delta.content) for piece in pieces) > 10
    assert whole.choices[0].finish_reason == "length"


def test_a_caller_that_names_no_model_gets_it(client: openai.OpenAI) -> None:
    assert client.chat.completions.create(**{**chat(2), "model": "default"}).model in (MODEL, "default")


async def test_a_running_server_that_is_only_named_says_how_many_slots_it_has(mesh: IsolatedMesh) -> None:
    (port,) = servers(mesh)
    sage(mesh, "engine", "register", f"http://127.0.0.1:{port}/v1", "--id", "named")
    try:
        await until_engines(mesh, all_ready(2), READY_SECONDS)
        listed = {one["name"]: one for one in json.loads(sage(mesh, "status", "--json"))["engines"]}
        assert [(listed[name]["capacity"], listed[name]["capacity_source"]) for name in ("llama-0", "named")] == [
            (2, "told"),
            (2, "told"),
        ]
        assert "0/2" in sage(mesh, "status")
    finally:
        sage(mesh, "engine", "remove", "named")
    await until_engines(mesh, all_ready(1), READY_SECONDS)


async def test_answers_are_sampled_as_the_model_s_makers_recommend_where_a_request_does_not_say(
    mesh: IsolatedMesh,
) -> None:
    (port,) = servers(mesh)
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/props") as response:
        sampling = (await response.json())["default_generation_settings"]["params"]
    assert (round(sampling["temperature"], 3), round(sampling["top_p"], 3)) == (0.2, 0.9)


def test_a_completion_goes_on_from_its_prompt(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="one, two, three, four,", max_tokens=6, temperature=0)
    assert "five" in answer.choices[0].text


def test_log_probabilities_are_of_the_tokens_of_the_answer(client: openai.OpenAI) -> None:
    choice = client.chat.completions.create(**chat(5), logprobs=True, top_logprobs=3).choices[0]
    assert choice.logprobs is not None
    content = choice.logprobs.content
    assert content is not None
    assert len(content) == 5
    assert "".join(token.token for token in content).strip() == (choice.message.content or "").strip()
    # Greedy: each token is the likeliest of the three.
    assert all(token.logprob == max(top.logprob for top in token.top_logprobs) for token in content)
    assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in content)


def test_an_answer_follows_the_schema_it_was_asked_for(client: openai.OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    answer = client.chat.completions.create(**chat(120), response_format=form)
    value = json.loads(answer.choices[0].message.content or "")
    assert set(value) == {"city", "people"}
    assert (type(value["city"]), type(value["people"])) == (str, int)


def test_a_prompt_beyond_the_context_is_the_caller_s_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="context"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "fox " * 6000}], max_tokens=1)


# Of the two tests that have the machine to themselves the first says in what time a slot is free again, and the second
# needs both to be.
@pytest.mark.alone
async def test_its_load_is_the_mesh_s_and_a_caller_that_leaves_frees_its_slot(mesh: IsolatedMesh) -> None:
    (port,) = servers(mesh)
    async with aiohttp.ClientSession() as session:

        async def reported(running: int) -> bool:
            return [engine["running"] for engine in await engines_of(session, mesh)] == [running]

        for stream in (True, False):
            asking = asyncio.create_task(_answer(session, mesh, chat(LONG, stream=stream)))
            await eventually(lambda: _runs(session, port, 1))
            await eventually(lambda: reported(1))
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
            await eventually(lambda: _runs(session, port, 0), seconds=10)
            await eventually(lambda: reported(0))


@pytest.mark.alone
async def test_no_more_requests_compute_than_it_has_slots(mesh: IsolatedMesh) -> None:
    (port,) = servers(mesh)
    async with aiohttp.ClientSession() as session:
        asking = [asyncio.create_task(_answer(session, mesh, chat(30))) for _ in range(5)]
        deferred = 0
        while not all(task.done() for task in asking):
            async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                lines = (await response.text()).splitlines()
            deferred += sum(line == "llamacpp:requests_deferred 1" for line in lines)
        assert [status for status, _ in await asyncio.gather(*asking)] == [200] * 5
    # What waits does so in the mesh, where another engine could take it.
    assert deferred == 0


def test_a_killed_server_is_started_again(mesh: IsolatedMesh) -> None:
    (server,) = servers(mesh).values()
    server.kill()
    asyncio.run(until_engines(mesh, lambda listed: [one["phase"] for one in listed] != ["ready"], 15))
    asyncio.run(until_engines(mesh, all_ready(1), READY_SECONDS))
    (again,) = servers(mesh).values()
    assert again.pid != server.pid
    assert "listening on" in sage(mesh, "engine", "logs", "llama-0")

    async def ask() -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session:
            return await _answer(session, mesh, chat(3))

    assert asyncio.run(ask())[0] == 200


def test_a_coordinator_that_was_killed_takes_its_server_back(mesh: IsolatedMesh) -> None:
    (server,) = servers(mesh).values()
    coordinator = mesh.process("llm-coordinator")
    coordinator.kill()
    mesh.wait_ready("llm-coordinator", not_pid=coordinator.pid)
    asyncio.run(until_engines(mesh, all_ready(1), READY_SECONDS))
    assert [one.pid for one in servers(mesh).values()] == [server.pid]


def test_an_engine_is_started_from_a_file_and_stopped(mesh: IsolatedMesh, tmp_path: Path) -> None:
    from sage_llm_coordinator.servers.packaged_models import gguf_path

    (tmp_path / "Other.gguf").symlink_to(gguf_path(MODEL))
    engine = sage(mesh, "engine", "start", str(tmp_path / "Other.gguf"), "--arg=--context-tokens=512")
    assert len(servers(mesh)) == 2
    listed = json.loads(sage(mesh, "engine", "list", "--json"))
    (found,) = [one for one in listed if one["engine_id"] == engine]
    assert (found["implementation"], found["models"], found["phase"]) == ("llamacpp", ["Other"], "ready")
    sage(mesh, "engine", "stop", engine)
    assert len(servers(mesh)) == 1


def test_a_stream_whose_server_is_killed_is_continued_by_the_other(tmp_path: Path) -> None:
    with llamacpp_mesh(tmp_path / "mesh", engines=2) as mesh:
        expected, _ = asyncio.run(_streamed(mesh, chat(60)))

        def server(engine: str) -> psutil.Process:
            ports = {one["engine_id"]: one["url"].rpartition(":")[2].partition("/")[0] for one in listed_engines(mesh)}
            return servers(mesh)[int(ports[engine])]

        def kill_guardian_too(engine: str) -> None:
            killed = server(engine)
            guardian = killed.parent()
            assert guardian is not None
            guardian.kill()
            with suppress(psutil.NoSuchProcess):
                killed.kill()

        for kill in (lambda engine: server(engine).kill(), kill_guardian_too):
            text, began = asyncio.run(_streamed(mesh, chat(60), kill=kill))
            # Both have the same weights and choose the likeliest token; the joint is by text, which may be cut into
            # other tokens than the model made.
            assert began
            assert text.startswith(expected[: len(expected) // 3])
            assert len(text) > len(expected) // 2
            asyncio.run(until_engines(mesh, all_ready(2), READY_SECONDS))


@pytest.mark.long
def test_a_second_coordinator_adopts_the_server_of_a_killed_one(tmp_path: Path) -> None:
    with static_mesh(tmp_path / "mesh", replicas={"llm-coordinator": 2}, settings={SERVER_PORTS: "0-0"}) as mesh:
        engine = sage(mesh, "engine", "start", MODEL, "--max-concurrency", "2", "--arg=--threads=1")
        before = {port: process.pid for port, process in servers(mesh).items()}
        (started,) = [one for one in listed_engines(mesh) if one["engine_id"] == engine]
        owner = started["executor_id"]
        expected, _ = asyncio.run(_streamed(mesh, chat(60)))
        coordinator = mesh.process(replica_of(mesh, owner))
        text, _ = asyncio.run(_streamed(mesh, chat(60), kill=lambda _: coordinator.kill()))
        asyncio.run(until_engines(mesh, lambda listed: _adopted(listed, owner), READY_SECONDS))
        # Its weights are not loaded again, and a stream that was under way went on.
        assert {port: process.pid for port, process in servers(mesh).items()} == before
        assert text.startswith(expected[: len(expected) // 3])
        assert len(text) > len(expected) // 2
        assert asyncio.run(_streamed(mesh, chat(60)))[0] == expected
    assert servers(mesh) == {}


def _adopted(listed: list[dict[str, Any]], owner: str) -> bool:
    found = [(one["phase"], one["executor_id"] != owner) for one in listed if one["implementation"] == "llamacpp"]
    return found == [("ready", True)]


@pytest.mark.long
def test_a_chat_takes_the_seat_of_a_bulk_answer_which_goes_on_unbroken(tmp_path: Path) -> None:
    with llamacpp_mesh(tmp_path / "mesh") as mesh:
        asyncio.run(_through_an_interruption(mesh))


async def _through_an_interruption(mesh: IsolatedMesh) -> None:
    """Hold both slots with bulk answers, streamed and in one piece, and ask a chat."""
    url = f"{mesh.gateway_url}/v1/chat/completions"
    (port,) = servers(mesh)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=180)) as session:

        async def whole() -> tuple[str, int, str]:
            async with session.post(url, json=chat(HELD, ignore_eos=True), headers=BULK) as response:
                assert response.status == 200, await response.text()
                answer = await response.json()
            (choice,) = answer["choices"]
            return choice["message"]["content"], answer["usage"]["completion_tokens"], response.headers["x-request-id"]

        async def streamed() -> tuple[str, int, str]:
            body = chat(HELD, ignore_eos=True, stream=True, stream_options={"include_usage": True})
            text, tokens, ids = "", 0, set()
            async with session.post(url, json=body, headers=BULK) as response:
                assert response.status == 200, await response.text()
                async for event in events(response):
                    assert "error" not in event, event
                    ids.add(event["id"])
                    tokens = (event.get("usage") or {}).get("completion_tokens") or tokens
                    for choice in event["choices"]:
                        text += choice["delta"].get("content") or ""
            assert len(ids) == 1
            return text, tokens, response.headers["x-request-id"]

        bulk = [asyncio.create_task(whole()), asyncio.create_task(streamed())]
        await eventually(lambda: _runs(session, port, 2))
        status, _ = await _answer(session, mesh, chat(4))
        assert status == 200
        # Bulk answers of seconds are still under way, and one of them was made to wait.
        assert not any(task.done() for task in bulk)
        answers = await asyncio.gather(*bulk)
    explained = [sage(mesh, "explain", request_id) for _, _, request_id in answers]
    assert sum("interrupted" in one for one in explained) == 1
    for text, tokens, _ in answers:
        assert tokens == HELD
        # A joint by text may be cut into other tokens than the model made, but what comes after is what the model
        # says then; without a space lost or a word said twice, the two greedy answers agree up to the joint.
        assert len(text) > HELD
    first, second = (text for text, _, _ in answers)
    assert first[:40] == second[:40]


async def _streamed(mesh: IsolatedMesh, body: dict[str, Any], kill: Any = None) -> tuple[str, str]:
    """Return the text of a stream and the engine that began it, which ``kill`` ends in its midst."""
    text, pieces, roles, finishes = "", 0, 0, []
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session,
        session.post(f"{mesh.gateway_url}/v1/chat/completions", json={**body, "stream": True}) as response,
    ):
        assert response.status == 200, await response.text()
        engine = response.headers["x-sage-engine"]
        async for event in events(response):
            assert "error" not in event, event
            for choice in event["choices"]:
                roles += "role" in choice["delta"]
                pieces += bool(choice["delta"].get("content"))
                text += choice["delta"].get("content") or ""
                finishes += [choice["finish_reason"]] if choice["finish_reason"] else []
            if kill is not None and pieces == KILLED_AFTER:
                kill(engine)
                kill = None
    assert (roles, len(finishes)) == (1, 1)
    return text, engine


async def _answer(session: aiohttp.ClientSession, mesh: IsolatedMesh, body: dict[str, Any]) -> tuple[int, bytes]:
    async with session.post(f"{mesh.gateway_url}/v1/chat/completions", json=body) as response:
        return response.status, await response.read()


async def _runs(session: aiohttp.ClientSession, port: int, count: int) -> bool:
    return await running_requests(session, port) == count


@pytest.mark.long
def test_a_benchmark_runs_a_policy_and_nothing_in_front_of_a_real_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    # How fast the engine is decides nothing here.
    monkeypatch.setattr(llamacpp_pool, "_CALIBRATION_ROUNDS", 1)
    rates = ClassRates(seconds=3.0, load=1.0, chat_tokens=6, bulk_tokens=12)
    plan = ComparisonPlan((rates,), repetitions=1, seed=3, timeout_seconds=60.0, warm_up_seconds=1.0, alone=True)
    options = PolicyOptions(simulate=False, direct=True, capacities=(UNTOLD,))
    engines = partial(llamacpp_pool.llamacpp_pool, LlamacppServers(slots=2))
    report = run_policies(plan, ["hybrid"], engines, "sage bench policies", lambda _: None, options)
    assert [system.name for system in report.systems] == ["none", "hybrid"]
    asked = {"interactive": 6, "bulk": 12}
    for system in report.systems:
        [run] = system.runs
        assert run.errors == {}
        assert run.by_class.keys() == asked.keys()
        # A real model makes as many tokens as it was asked for, so that every system is asked for the same work.
        tokens = sum(asked[name] * group.requests for name, group in run.by_class.items())
        assert run.tokens_per_second * run.seconds == pytest.approx(tokens)
    assert "prompt tokens/s" in str(report.settings["llama.cpp engines"])
    assert str(report.settings["told: hybrid"]).endswith("no capacity (it asks the servers)")
