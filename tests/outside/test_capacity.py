"""Servers that say how many requests they compute at once, each in its own way, and servers that do not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fixtures.eventually import eventually
from fixtures.outside_mesh import Outside
from fixtures.outside_server import Asked, Handler, OutsideServer, Wire, answer, says

from sage_control_plane.request.engine_state import CapacitySource, EngineState
from sage_llm_coordinator.engines.openai_engine import CHECKS_BETWEEN_DISCOVERIES, OpenAiEngine
from sage_mesh.engine_capacity import TECHNICAL_CEILING
from sage_mesh.upstream.server_capacity import CAPACITY_PAGES

TOLD, CONFIGURED, UNKNOWN = CapacitySource.TOLD, CapacitySource.CONFIGURED, CapacitySource.UNKNOWN
TEI = {"model_id": "m", "max_concurrent_requests": 512, "max_batch_tokens": 16384, "max_batch_requests": 4}
TGI = {"model_id": "m", "max_concurrent_requests": 128, "max_total_tokens": 4096}


def slots(number: int) -> Handler:
    """A llama.cpp with as many slots."""
    return says({"total_slots": number})


def known(engine: OpenAiEngine) -> tuple[int, CapacitySource]:
    return engine.spec.max_concurrency, engine.spec.capacity_source


async def attach(outside: Outside, pages: dict[str, Handler], **capacity: Any) -> tuple[OutsideServer, OpenAiEngine]:
    server = OutsideServer()
    server.get |= pages
    await outside.run(server)
    return server, await outside.attach(server, capacity=capacity)


async def checks(server: OutsideServer, number: int) -> None:
    """Wait for this many further health checks."""
    before = server.paths.count("/health")
    await eventually(lambda: server.paths.count("/health") >= before + number, seconds=10)


@pytest.mark.parametrize(
    ("pages", "expected", "tokens"),
    [
        ({"/props": slots(4)}, (4, TOLD), 0),
        ({"/get_server_info": says({"internal_states": [{"max_running_requests": 48}]})}, (48, TOLD), 0),
        ({"/server_info?config_format=json": says({"max_running_requests": 48})}, (48, TOLD), 0),
        ({"/info": says(TGI)}, (128, UNKNOWN), 0),
        ({"/info": says({**TGI, "max_batch_size": 16})}, (16, TOLD), 0),
        ({"/info": says(TEI)}, (8, TOLD), 32768),
        ({}, (TECHNICAL_CEILING, UNKNOWN), 0),
        ({"/props": says({"of": "another kind"}), "/info": says({"name": "x"})}, (TECHNICAL_CEILING, UNKNOWN), 0),
    ],
    ids=["llama.cpp", "sglang", "sglang later", "tgi", "tgi with a batch", "tei", "nothing", "other pages"],
)
async def test_an_engine_takes_what_its_server_says(
    outside: Outside, pages: dict[str, Handler], expected: tuple[int, CapacitySource], tokens: int
) -> None:
    _, engine = await attach(outside, pages)
    assert known(engine) == expected
    assert engine.spec.max_outstanding_tokens == tokens

    # The scheduler sees the same.
    def announced() -> EngineState:
        return outside.mesh.directory.engines[engine.spec.engine_id]

    await eventually(lambda: announced().spec.capacity_source is expected[1], seconds=5)
    assert announced().spec.max_concurrency == expected[0]


@pytest.mark.parametrize(
    ("ceiling", "pages", "expected"),
    [
        (2, {"/props": slots(4)}, (2, CONFIGURED)),
        (9, {"/props": slots(4)}, (4, TOLD)),
        (9, {}, (9, CONFIGURED)),
        (200, {"/info": says(TGI)}, (128, CONFIGURED)),
    ],
)
async def test_an_operators_number_is_a_ceiling(
    outside: Outside, ceiling: int, pages: dict[str, Handler], expected: tuple[int, CapacitySource]
) -> None:
    _, engine = await attach(outside, pages, ceiling=ceiling)
    assert known(engine) == expected


async def test_what_the_arguments_said_gives_way_to_what_the_server_says(outside: Outside) -> None:
    _, silent = await attach(outside, {}, seats=256)
    _, saying = await attach(outside, {"/props": slots(4)}, seats=256)
    assert (known(silent), known(saying)) == ((256, TOLD), (4, TOLD))


async def test_a_server_without_a_page_is_asked_once(outside: Outside) -> None:
    server, _ = await attach(outside, {"/health": says({})})
    await checks(server, 2 * CHECKS_BETWEEN_DISCOVERIES)
    assert [server.paths.count(page) for page in CAPACITY_PAGES] == [1] * len(CAPACITY_PAGES)
    assert not server.asked, "work was asked for"


async def test_a_restarted_server_is_asked_again(outside: Outside) -> None:
    server, engine = await attach(outside, {"/health": says({}), "/info": says(TEI)})
    assert (*known(engine), engine.spec.max_outstanding_tokens) == (8, TOLD, 32768)
    del server.get["/info"]
    server.get |= {"/health": says({}, 503), "/props": slots(6)}
    await eventually(lambda: engine.phase.name == "UNHEALTHY", seconds=5)
    server.get["/health"] = says({})
    await eventually(lambda: known(engine) == (6, TOLD), seconds=5)
    assert engine.spec.max_outstanding_tokens == 0
    # Another product at the same address.
    server.get |= {"/health": says({}, 503)}
    del server.get["/props"]
    await eventually(lambda: engine.phase.name == "UNHEALTHY", seconds=5)
    server.get["/health"] = says({})
    await eventually(lambda: known(engine) == (TECHNICAL_CEILING, UNKNOWN), seconds=5)


async def test_a_restart_between_two_checks_is_noticed_by_the_page_alone(outside: Outside) -> None:
    server, engine = await attach(outside, {"/health": says({}), "/props": slots(4)})
    server.get["/props"] = slots(2)
    await eventually(lambda: known(engine) == (2, TOLD), seconds=10)
    assert "/info" not in server.paths


async def test_a_page_that_is_not_ready_yet_is_asked_for_again(outside: Outside) -> None:
    server, engine = await attach(outside, {"/health": says({}), "/props": says({"error": "loading"}, 503)})
    assert known(engine) == (TECHNICAL_CEILING, UNKNOWN)
    server.get["/props"] = slots(4)
    await eventually(lambda: known(engine) == (4, TOLD), seconds=10)


async def test_a_page_that_never_comes_holds_nothing_up(outside: Outside) -> None:
    released = asyncio.Event()

    async def slow(wire: Wire, asked: Asked) -> None:
        await released.wait()
        await slots(4)(wire, asked)

    _, engine = await attach(outside, {"/health": says({}), "/props": slow}, ask_seconds=0.2)
    assert known(engine) == (TECHNICAL_CEILING, UNKNOWN)
    assert (await outside.ask()).text == "hello"
    released.set()
    await eventually(lambda: known(engine) == (4, TOLD), seconds=10)


async def test_what_was_said_stands_while_the_page_does_not_answer(outside: Outside) -> None:
    server, engine = await attach(outside, {"/health": says({}), "/props": slots(4)})
    server.get["/props"] = says({}, 500)
    before = server.paths.count("/props")
    await eventually(lambda: server.paths.count("/props") >= before + 2, seconds=10)
    assert known(engine) == (4, TOLD)


@pytest.mark.parametrize("page", [{"/workers": says({"workers": []})}, {"/list_workers": says({"urls": ["http://w"]})}])
async def test_what_a_router_says_of_one_server_is_not_taken(outside: Outside, page: dict[str, Handler]) -> None:
    _, engine = await attach(outside, {"/get_server_info": says({"max_running_requests": 48}), **page})
    assert known(engine) == (TECHNICAL_CEILING, UNKNOWN)


async def test_litellm_is_not_asked(outside: Outside) -> None:
    server, engine = await attach(outside, {"/health/liveliness": says("I'm alive!"), "/props": slots(4)})
    assert known(engine) == (TECHNICAL_CEILING, UNKNOWN)
    assert not {*server.paths} & {*CAPACITY_PAGES, "/health"}


async def test_requests_beyond_a_small_capacity_wait_for_it(outside: Outside) -> None:
    running, most = 0, 0

    async def counted(wire: Wire, asked: Asked) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)  # the time that the answer takes
        running -= 1
        await answer(wire, asked)

    server, engine = await attach(outside, {"/props": slots(2)})
    server.post = counted
    await eventually(
        lambda: outside.mesh.directory.engines[engine.spec.engine_id].spec.capacity_source is TOLD, seconds=5
    )
    answers = await asyncio.gather(*(outside.ask() for _ in range(12)))
    assert [one.text for one in answers] == ["hello"] * 12
    assert most <= 3, "two slots, and one on its way"
