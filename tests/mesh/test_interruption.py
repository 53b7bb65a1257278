"""All seats are held by bulk answers and a chat comes: it begins at once, and the bulk answers lose no byte."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from fixtures.eventually import eventually
from fixtures.journaled_engines import JournaledEngine, journaled_engines
from fixtures.process_mesh import all_ready, process_mesh, sage, until_engines
from fixtures.received_answers import Exchange, problem_with

from sage_benchmark.isolated_mesh import IsolatedMesh
from sage_benchmark.simulated_engine.answer_text import marker
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_benchmark.simulated_engine.engine_record import RecordEntry
from sage_common.tasks import end_tasks
from sage_control_plane.request.request import Endpoint
from sage_llm_coordinator.engines.upstream_proxy import GATHER_SECONDS

MODELS = SimulatedModels()
SEATS = 2
STEP_SECONDS = 0.03
BULK_TOKENS = 180
CHAT_TOKENS = 10
# Far below what is left of a bulk answer, 5 s long; what is above two steps and a prompt is for a busy machine.
BEGINS_WITHIN_SECONDS = 1.5
WRITTEN_WITHIN_SECONDS = 5.0
BULK = {"X-Request-Priority": "background"}

pytestmark = pytest.mark.timeout(180)


@dataclass
class Client:
    """Sends requests and keeps every byte of their answers."""

    session: aiohttp.ClientSession
    url: str

    async def send(self, exchange: Exchange, headers: dict[str, str]) -> float:
        """Return the seconds to the answer's first byte."""
        began, first = time.monotonic(), 0.0
        headers = {"Content-Type": "application/json", **headers}
        async with self.session.post(
            f"{self.url}{exchange.endpoint.path}", data=exchange.body, headers=headers
        ) as response:
            exchange.status = response.status
            exchange.engine = response.headers.get("x-sage-engine", "")
            exchange.mesh_id = response.headers.get("x-request-id", "")
            async for piece in response.content.iter_any():
                first = first or time.monotonic() - began
                exchange.answer += piece
        return first


def asked(name: str, tokens: int, *, chat: bool = True, stream: bool = True) -> Exchange:
    prompt = f"{marker(name, tokens)} tell me about seats"
    body: dict[str, Any] = {"model": MODELS.llm, "max_tokens": tokens + 50}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if chat:
        messages = [{"role": "user", "content": prompt}]
        return Exchange(name, Endpoint.CHAT_COMPLETIONS, orjson.dumps({**body, "messages": messages}))
    return Exchange(name, Endpoint.COMPLETIONS, orjson.dumps({**body, "prompt": prompt + "\n"}))


@contextmanager
def mesh_of(engines: int, directory: Path) -> Iterator[tuple[IsolatedMesh, list[JournaledEngine]]]:
    """A mesh in front of engines of two seats each."""
    arguments = ("--step-base-seconds", str(STEP_SECONDS), "--max-num-seqs", str(SEATS))
    with journaled_engines(engines, directory / "journals", arguments) as running:
        upstreams = [
            {"kind": "openai", "name": engine.name, "url": engine.url, "max_concurrency": SEATS} for engine in running
        ]
        settings = {"SAGE_LLM_COORDINATOR_ENGINES": orjson.dumps(upstreams).decode()}
        with process_mesh(directory / "mesh", settings=settings) as mesh:
            asyncio.run(until_engines(mesh, all_ready(engines), 60))
            yield mesh, running


@asynccontextmanager
async def client_of(mesh: IsolatedMesh) -> AsyncIterator[Client]:
    timeout = aiohttp.ClientTimeout(total=90)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Client(session, mesh.gateway_url)


def records(engines: list[JournaledEngine]) -> dict[str, list[RecordEntry]]:
    found: defaultdict[str, list[RecordEntry]] = defaultdict(list)
    for engine in engines:
        for entry in engine.record():
            found[entry.request_id].append(entry)
    return found


def under_way(engines: list[JournaledEngine], count: int, tokens: int) -> Callable[[], bool]:
    """Whether so many answers of more than so many tokens run."""

    def running() -> bool:
        entries = [entry for engine in engines for entry in engine.record()]
        return sum(entry.state == "running" and entry.until - entry.first > tokens for entry in entries) >= count

    return running


def begun_at(engines: list[JournaledEngine], name: str) -> list[int]:
    """Where in the answer each attempt at it began that an engine took."""
    return [entry.first for engine in engines for entry in engine.record() if entry.name == name]


async def while_bulk_holds_all_seats(
    mesh: IsolatedMesh,
    engines: list[JournaledEngine],
    bulk: list[Exchange],
    chats: list[Exchange],
    *,
    tokens: int = 20,
) -> list[float]:
    """Send bulk work, and chats once it holds all seats and has ``tokens`` tokens of each answer.

    Returns:
        The chats' seconds to their first byte.
    """
    async with client_of(mesh) as client:
        sending = [asyncio.create_task(client.send(exchange, BULK)) for exchange in bulk]
        try:
            await eventually(under_way(engines, len(bulk), tokens), seconds=30)
            seconds = await asyncio.gather(*(client.send(chat, {}) for chat in chats))
            assert not any(task.done() for task in sending)
            await asyncio.gather(*sending)
        finally:
            await end_tasks(*sending)
    return seconds


def check(engines: list[JournaledEngine], exchanges: list[Exchange]) -> None:
    """Compare every byte with what the engines wrote down."""

    def problems() -> dict[str, str]:
        recorded = records(engines)
        found = {one.request_id: problem_with(one, recorded[one.mesh_id]) for one in exchanges}
        return {name: problem for name, problem in found.items() if problem}

    # An engine writes down that an answer is complete when its last byte has left, which its client may have by then.
    deadline = time.monotonic() + WRITTEN_WITHIN_SECONDS
    while problems() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not problems()


def test_a_chat_begins_at_once_and_the_bulk_streams_go_on_where_they_were(tmp_path: Path) -> None:
    with mesh_of(1, tmp_path) as (mesh, engines):
        bulk = [asked("bulk-chat", BULK_TOKENS), asked("bulk-text", BULK_TOKENS, chat=False)]
        chat = asked("chat", CHAT_TOKENS)
        (seconds,) = asyncio.run(while_bulk_holds_all_seats(mesh, engines, bulk, [chat]))
        assert seconds < BEGINS_WITHIN_SECONDS
        check(engines, [*bulk, chat])
        begun = {one.request_id: begun_at(engines, one.request_id) for one in bulk}
        (stopped,) = [name for name, firsts in begun.items() if len(firsts) > 1]
        # It went on from what had been sent, once; the other was left alone.
        assert len(begun[stopped]) == 2
        assert begun[stopped][1] > 20
        mesh_id = next(one.mesh_id for one in bulk if one.request_id == stopped)
        explained = sage(mesh, "explain", mesh_id)
        assert "interrupted" in explained
        assert "interactive work" in " ".join(explained.split())
        (pool,) = orjson.loads(sage(mesh, "status", "--json"))["pools"]
        assert (pool["interrupted"], pool["queued"], pool["outstanding"]) == (1, 0, 0)
        # The engine has kept what it had computed.
        assert 0 < pool["recomputed_tokens"] <= 20


@pytest.mark.long
def test_several_chats_get_as_many_seats(tmp_path: Path) -> None:
    with mesh_of(2, tmp_path) as (mesh, engines):
        bulk = [asked(f"bulk-{number}", BULK_TOKENS, chat=bool(number % 2)) for number in range(2 * SEATS)]
        chats = [asked(f"chat-{number}", CHAT_TOKENS) for number in range(3)]
        seconds = asyncio.run(while_bulk_holds_all_seats(mesh, engines, bulk, chats))
        assert max(seconds) < BEGINS_WITHIN_SECONDS
        check(engines, [*bulk, *chats])
        stopped = sum(len(begun_at(engines, one.request_id)) - 1 for one in bulk)
        assert stopped == len(chats)


async def killed_after_an_interruption(
    mesh: IsolatedMesh, engines: list[JournaledEngine], bulk: list[Exchange], chat: Exchange
) -> str:
    """Kill the engine that goes on with an interrupted answer; return that answer's name."""
    async with client_of(mesh) as client:
        sending = [asyncio.create_task(client.send(exchange, BULK)) for exchange in bulk]
        try:
            await eventually(under_way(engines, len(bulk), 20), seconds=30)
            await client.send(chat, {})

            def continued() -> list[tuple[JournaledEngine, RecordEntry]]:
                return [
                    (engine, entry)
                    for engine in engines
                    for entry in engine.record()
                    if entry.first > 0 and entry.state == "running" and entry.until - entry.first > 5
                ]

            await eventually(lambda: bool(continued()), seconds=30)
            engine, entry = continued()[0]
            engine.kill()
            await asyncio.gather(*sending)
            return entry.name
        finally:
            await end_tasks(*sending)


@pytest.mark.long
def test_an_interrupted_answer_survives_the_death_of_the_engine_that_goes_on_with_it(tmp_path: Path) -> None:
    with mesh_of(2, tmp_path) as (mesh, engines):
        bulk = [asked(f"bulk-{number}", BULK_TOKENS) for number in range(2 * SEATS)]
        chat = asked("chat", CHAT_TOKENS)
        name = asyncio.run(killed_after_an_interruption(mesh, engines, bulk, chat))
        check(engines, [*bulk, chat])
        firsts = begun_at(engines, name)
        assert len(firsts) == 3
        assert len(set(firsts)) == 3


@pytest.mark.long
def test_a_bulk_answer_in_one_piece_keeps_its_tokens_too(tmp_path: Path) -> None:
    with mesh_of(1, tmp_path) as (mesh, engines):
        bulk = [asked(f"whole-{chat}", BULK_TOKENS, chat=chat, stream=False) for chat in (True, False)]
        chat = asked("chat", CHAT_TOKENS)
        # Its events are passed on four times a second: what has come since is computed again.
        gathered = int(GATHER_SECONDS / STEP_SECONDS) + 2
        (seconds,) = asyncio.run(while_bulk_holds_all_seats(mesh, engines, bulk, [chat], tokens=20 + gathered))
        assert seconds < BEGINS_WITHIN_SECONDS
        check(engines, [*bulk, chat])
        firsts = sorted(first for one in bulk for first in begun_at(engines, one.request_id))
        assert len(firsts) == 3
        assert firsts[-1] > 20
