"""Responses in the background whose events are read as they are told, and again, with the real ``openai`` client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from fixtures.mesh import Mesh
from fixtures.scripted_chat import DEATH, MODEL, ScriptedChat, call

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "Hello, world."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(stored_mesh: Mesh) -> AsyncIterator[openai.AsyncOpenAI]:
    base_url = f"{stored_mesh.url}/v1"
    async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-right", max_retries=0) as client:
        yield client


async def begun(client: openai.AsyncOpenAI, **fields: Any) -> Any:
    return await client.responses.create(model=MODEL, input="hello", background=True, stream=True, **fields)


async def all_of(stream: Any) -> list[Any]:
    async def read() -> list[Any]:
        return [event async for event in stream]

    return await asyncio.wait_for(read(), 20)


async def some_of(stream: Any, until: str) -> list[Any]:
    """Events up to one that has a text in it."""
    events = []
    async for event in stream:
        events.append(event)
        if until in text_of(events):
            return events
    raise AssertionError(f"the stream ended before {until!r}")


def text_of(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


async def test_events_come_in_order_as_openai_numbers_them(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    events = await all_of(await begun(client))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert [event.response.status for event in events[:3]] == ["queued", "queued", "in_progress"]
    assert (text_of(events), events[-1].type) == (TEXT, "response.completed")
    stored = await client.responses.retrieve(events[0].response.id)
    assert events[-1].response == stored
    assert (stored.output_text, stored.usage.total_tokens) == (TEXT, 18)


async def test_who_comes_back_reads_on_behind_what_it_has(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    engine.waits_after = 2
    stream = await begun(client)
    first = await some_of(stream, "Hell")
    await stream.close()
    response_id, last = first[0].response.id, first[-1].sequence_number
    following = asyncio.create_task(
        all_of(await client.responses.retrieve(response_id, stream=True, starting_after=last))
    )
    assert (await client.responses.retrieve(response_id)).status == "in_progress"
    engine.released.set()
    rest = await following
    assert [event.sequence_number for event in rest] == list(range(last + 1, last + 1 + len(rest)))
    assert text_of(first + rest) == TEXT
    again = await all_of(await client.responses.retrieve(response_id, stream=True))
    assert [event.sequence_number for event in again] == list(range(len(again)))
    assert again[-1] == rest[-1]


async def test_a_response_outlives_the_gateway_that_makes_it_and_its_stream_goes_on(
    client: openai.AsyncOpenAI, stored_mesh: Mesh, engine: ScriptedChat
) -> None:
    engine.waits_after = 3
    stream = await begun(client)
    first = await some_of(stream, "Hello, w")
    engine.reset()
    engine.message = {"role": "assistant", "content": "orld."}
    await stored_mesh.makers[-1].stop()
    stored_mesh.make_responses("another")
    events = first + await all_of(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert text_of(events) == TEXT
    assert [event.type for event in events].count("response.in_progress") == 1
    assert engine.body["messages"][-1] == {"role": "assistant", "content": "Hello, w"}
    assert engine.body["continue_final_message"] is True
    response = await client.responses.retrieve(events[0].response.id)
    assert (response.status, response.output_text) == ("completed", TEXT)
    # Two pieces were told, of one token and about three; the engine counted them in the prompt of the rest.
    assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 11)


async def test_a_complete_answer_that_was_told_but_not_stored_is_stored_without_an_engine(
    client: openai.AsyncOpenAI, stored_mesh: Mesh, engine: ScriptedChat
) -> None:
    assert stored_mesh.responses is not None
    calls = [call("look", '{"at": "the sky"}')]
    engine.message = {"role": "assistant", "content": TEXT, "tool_calls": calls}
    engine.finish_reason = "tool_calls"
    engine.waits_after = 2
    tools = [{"type": "function", "name": "look", "parameters": {"type": "object"}}]
    stream = await begun(client, tools=tools)
    first = await some_of(stream, "Hell")
    storing = asyncio.Event()

    async def store_never(*_arguments: Any) -> None:
        storing.set()
        await asyncio.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_mesh.responses.store, "change", store_never)
        engine.released.set()
        await asyncio.wait_for(storing.wait(), 10)
        await stored_mesh.makers[-1].stop()
    stored_mesh.make_responses("one-more")
    events = first + await all_of(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    assert len(engine.bodies) == 1
    response = await client.responses.retrieve(events[0].response.id)
    assert events[-1].response == response
    assert [item.type for item in response.output] == ["message", "function_call"]
    assert (response.output_text, response.output[1].arguments) == (TEXT, '{"at": "the sky"}')
    assert response.usage is None, "it was not told"


async def test_half_a_tool_call_is_not_gone_on_from(
    client: openai.AsyncOpenAI, stored_mesh: Mesh, engine: ScriptedChat
) -> None:
    engine.message = {"role": "assistant", "content": None, "tool_calls": [call("look", '{"at": "the sky"}')]}
    engine.waits_after = 3
    tools = [{"type": "function", "name": "look", "parameters": {"type": "object"}}]
    stream = await begun(client, tools=tools)
    first = []
    async for event in stream:
        first.append(event)
        if event.type == "response.function_call_arguments.delta":
            break
    engine.reset()
    await stored_mesh.makers[-1].stop()
    stored_mesh.make_responses("a-third")
    rest = await all_of(stream)
    assert [event.type for event in rest] == ["response.failed"]
    assert "no other can go on with what it had told" in rest[0].response.error.message
    assert not engine.bodies


async def test_a_failure_is_told(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    engine.fails_before = DEATH
    events = await all_of(await begun(client))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.message == "the engine died"


async def test_a_cancelled_response_ends_its_stream(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    engine.waits_after = 2
    stream = await begun(client)
    first = await some_of(stream, "Hell")
    await client.responses.cancel(first[0].response.id)
    rest = await all_of(stream)
    assert "response.completed" not in [event.type for event in rest]
    await asyncio.wait_for(engine.job_cancelled.wait(), 10)


async def test_what_was_not_streamed_has_no_events_and_says_so(
    client: openai.AsyncOpenAI, engine: ScriptedChat
) -> None:
    whole = await client.responses.create(model=MODEL, input="hello")
    with pytest.raises(openai.BadRequestError, match="it was not made with 'background' and 'stream'"):
        await client.responses.retrieve(whole.id, stream=True)
    with pytest.raises(openai.BadRequestError, match="send stream=true too"):
        await client.responses.retrieve(whole.id, extra_query={"starting_after": 1})


async def test_events_of_another_tenant_or_of_a_deleted_response_are_not_there(
    client: openai.AsyncOpenAI, stored_mesh: Mesh, engine: ScriptedChat
) -> None:
    response_id = (await all_of(await begun(client)))[0].response.id
    with pytest.raises(openai.NotFoundError):
        await client.with_options(api_key="sk-other").responses.retrieve(response_id, stream=True)
    await client.responses.delete(response_id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(response_id, stream=True)
    assert stored_mesh.responses is not None
    assert [m async for m in stored_mesh.responses.events.read(stored_mesh.name, response_id)] == []
