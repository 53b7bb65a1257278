"""Policies, engines and decisions of a running mesh: the same by REST, by gRPC and from the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from fixtures.eventually import eventually
from fixtures.operators import OPERATORS, Cli, Operator, RefusedError, Rest
from fixtures.process_mesh import static_mesh

from sage_benchmark.gateway_benchmark import static_engine
from sage_benchmark.isolated_mesh import IsolatedMesh

CHAT = {"model": "static", "messages": [{"role": "user", "content": "hi"}]}
SLOW_TOKENS = 50
SLOW_GAP_MS = 100
WORD = b'"content":"word "'


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    """Two schedulers, of which one leads; an engine that answers at once."""
    with static_mesh(tmp_path_factory.mktemp("control"), replicas={"scheduler": 2}) as running:
        yield running


@pytest.fixture(scope="module")
def slow_engine() -> Iterator[str]:
    """A server whose answers take five seconds, token by token, under a model name of its own."""
    arguments = ("--tokens", str(SLOW_TOKENS), "--gap-ms", str(SLOW_GAP_MS), "--model", "slow")
    with static_engine(*arguments) as url:
        yield url


@pytest.fixture(params=OPERATORS)
def operator(request: pytest.FixtureRequest, mesh: IsolatedMesh) -> Operator:
    return OPERATORS[request.param](mesh)


def until_listed(operator: Operator, engine_id: str) -> None:
    """A registered engine is heard at the schedulers with its next heartbeat."""
    asyncio.run(eventually(lambda: engine_id in operator.engines()))


def until_ready(mesh: IsolatedMesh, engine_id: str) -> None:
    rest = Rest(mesh)
    asyncio.run(eventually(lambda: rest.engines().get(engine_id, {}).get("phase") == "ready"))


async def ask(mesh: IsolatedMesh, request_id: str, body: object = CHAT) -> int:
    headers = {"X-Request-ID": request_id}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{mesh.gateway_url}/v1/chat/completions", json=body, headers=headers) as response,
    ):
        await response.read()
        return response.status


@asynccontextmanager
async def streaming(mesh: IsolatedMesh) -> AsyncIterator[aiohttp.StreamReader]:
    """A stream of the slow model whose first bytes have come."""
    body = {**CHAT, "model": "slow", "stream": True}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{mesh.gateway_url}/v1/chat/completions", json=body) as response,
    ):
        assert response.status == 200, await response.text()
        yield response.content


def test_a_policy_is_changed_and_shown(operator: Operator) -> None:
    before = operator.policy()
    assert before["policy"] in before["available"]
    assert {"fifo", "priority", "slo_aware", "hybrid"} <= set(before["available"])
    previous = before["policy"]
    for name in ("slo_aware", "fifo", "hybrid"):
        changed = operator.set_policy(name)
        assert (changed["previous"], changed["policy"]) == (previous, name)
        previous = name
    assert operator.set_policy("priority", "main")["policy"] == "priority"
    assert operator.policy("main")["policy"] == "priority"


def test_an_unknown_policy_is_refused_with_those_that_exist(operator: Operator) -> None:
    before = operator.policy()
    with pytest.raises(RefusedError, match=r"is called 'hybird'; did you mean 'hybrid'\? known: fifo, "):
        operator.set_policy("hybird")
    assert operator.policy() == before


def test_an_unknown_pool_or_engine_is_refused_with_those_that_exist(operator: Operator) -> None:
    with pytest.raises(RefusedError, match="no pool is called 'side'; known: main"):
        operator.policy("side")
    with pytest.raises(RefusedError, match="'gone'; known:"):
        operator.drain("gone")
    with pytest.raises(RefusedError, match="'gone'"):
        operator.remove("gone", drain=True)


def test_an_engine_comes_drains_and_goes(operator: Operator, mesh: IsolatedMesh, slow_engine: str) -> None:
    engine = operator.register(slow_engine, "extra")
    engine_id = engine["engine_id"]
    assert engine_id.startswith("extra-")
    assert (engine["url"], engine["pool"]) == (slow_engine, "main")
    with pytest.raises(RefusedError, match="'extra' is registered"):
        operator.register(slow_engine, "extra")
    until_listed(operator, engine_id)
    assert operator.drain(engine_id)["draining"]
    assert operator.engines()[engine_id]["draining"]
    assert not operator.drain(engine_id, undo=True)["draining"]
    assert operator.drain(engine_id)["draining"]
    assert operator.remove(engine_id, drain=True) == 0
    again = operator.register(slow_engine, "extra")["engine_id"]
    until_listed(operator, again)
    assert not operator.engines()[again]["draining"], "an order for the removed engine reached the new one"
    assert operator.remove(again, drain=False) == 0

    asyncio.run(eventually(lambda: again not in operator.engines()))


def test_a_url_that_is_none_is_refused(operator: Operator) -> None:
    with pytest.raises(RefusedError, match="no HTTP URL"):
        operator.register("ftp://nowhere", "odd")


def test_a_drained_removal_lets_streams_end(operator: Operator, mesh: IsolatedMesh, slow_engine: str) -> None:
    engine_id = operator.register(slow_engine, "slow")["engine_id"]
    until_ready(mesh, engine_id)

    async def remove_under_load() -> tuple[bytes, int, bool]:
        async with streaming(mesh) as content:
            text = await content.readany()
            removal = asyncio.create_task(asyncio.to_thread(operator.remove, engine_id, drain=True))
            while text.count(WORD) < SLOW_TOKENS - 2:
                text += await content.readany()
            waits = not removal.done()
            text += await content.read()
            return text, await removal, waits

    text, aborted, waited = asyncio.run(remove_under_load())
    assert text.count(WORD) == SLOW_TOKENS
    assert text.rstrip().endswith(b"data: [DONE]")
    assert (aborted, waited) == (0, True)


def test_a_removal_whose_time_is_up_ends_what_still_runs(
    operator: Operator, mesh: IsolatedMesh, slow_engine: str
) -> None:
    engine_id = operator.register(slow_engine, "slow")["engine_id"]
    until_ready(mesh, engine_id)

    async def remove_in_a_hurry() -> tuple[int, bytes]:
        async with streaming(mesh) as content:
            await content.readany()
            aborted = await asyncio.to_thread(operator.remove, engine_id, drain=True, timeout_seconds=0.3)
            return aborted, await content.read()

    aborted, rest = asyncio.run(remove_in_a_hurry())
    assert aborted == 1
    assert b'"error"' in rest, "the client was not told"


def test_a_decision_is_explained(operator: Operator, mesh: IsolatedMesh) -> None:
    request_id = f"told {type(operator).__name__}"
    assert asyncio.run(ask(mesh, request_id)) == 200
    (told,) = operator.explain(request_id)
    assert (told["tenant"], told["error_code"]) == ("default", "")
    assert told["state"] in ("running", "finished")
    assert told["policy"] == operator.policy()["policy"]
    (dispatch,) = told["dispatches"]
    assert (dispatch["engine_id"], dispatch["tries"]) == (told["engine_id"], 1)
    assert told["engine_id"] in [candidate["engine_id"] for candidate in dispatch["candidates"]]
    assert told["scheduler_id"] == OPERATORS["rest"](mesh).explain(request_id)[0]["scheduler_id"]


def test_what_no_scheduler_knows_is_not_explained(operator: Operator) -> None:
    with pytest.raises(RefusedError, match="no scheduler remembers a request 'nobody'"):
        operator.explain("nobody")


def test_the_command_line_tells_a_decision_in_words(mesh: IsolatedMesh) -> None:
    assert asyncio.run(ask(mesh, "in-words")) == 200
    said = Cli(mesh).run("explain", "in-words")
    assert said.returncode == 0, said.stderr
    for word in ("in-words", "static", "priority", "queued", "first token", "considered"):
        assert word in said.stdout
    listed = Cli(mesh).run("engine", "list")
    assert "closed" in listed.stdout
    assert Cli(mesh).run("policy", "get").stdout.strip() in ("fifo", "priority", "slo_aware", "hybrid")
    assert Cli(mesh).run("policy", "set", "nope").returncode == 64


def test_a_policy_changes_under_load_and_nothing_is_lost(mesh: IsolatedMesh) -> None:
    rest = Rest(mesh)

    async def load() -> list[int]:
        async def worker(number: int) -> list[int]:
            return [await ask(mesh, f"load-{number}-{turn}") for turn in range(10)]

        working = [asyncio.create_task(worker(number)) for number in range(16)]
        for name in ("fifo", "hybrid", "slo_aware", "priority"):
            await asyncio.to_thread(rest.set_policy, name)
        return [status for statuses in await asyncio.gather(*working) for status in statuses]

    assert asyncio.run(load()) == [200] * 160


def test_a_body_that_is_no_order_is_refused(mesh: IsolatedMesh) -> None:
    async def refusals() -> list[tuple[int, str]]:
        found = []
        async with aiohttp.ClientSession(f"{mesh.gateway_url}/v1/management/") as session:
            for method, path, body in (
                ("PUT", "policy", "{"),
                ("PUT", "policy", '{"polcy": "fifo"}'),
                ("PUT", "policy", '{"policy": 1}'),
                ("POST", "engines", "{}"),
                ("POST", "engines", json.dumps({"url": "x" * 70_000})),
                ("DELETE", "engines/x?drain=perhaps", ""),
                ("DELETE", "engines/x?timeout_seconds=-1", ""),
                ("PATCH", "policy", ""),
            ):
                async with session.request(method, path, data=body) as response:
                    found.append((response.status, (await response.json())["error"]["message"]))
        return found

    answers = asyncio.run(refusals())
    assert [status for status, _ in answers] == [400, 400, 400, 400, 413, 400, 400, 405]
    assert "fields: policy, pool" in answers[1][1]


def test_a_killed_leaders_decisions_go_with_it_and_later_ones_are_told_by_the_next(mesh: IsolatedMesh) -> None:
    rest = Rest(mesh)
    assert asyncio.run(ask(mesh, "before")) == 200
    (before,) = rest.explain("before")
    pids = {name: mesh.process(name) for name in [status.name for status in mesh.processes("scheduler")]}
    # Instance ids hold the pid.
    leader = next(name for name, process in pids.items() if str(process.pid) in before["scheduler_id"])
    pid = pids[leader].pid
    pids[leader].kill()
    assert asyncio.run(ask(mesh, "after")) == 200
    (after,) = rest.explain("after")
    assert after["scheduler_id"] != before["scheduler_id"]
    with pytest.raises(RefusedError):
        rest.explain("before")
    mesh.wait_ready(leader, not_pid=pid)
