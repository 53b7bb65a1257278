"""Stored responses with the real ``openai`` client: kept, gone on from, listed, deleted, and made in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio
from fixtures.eventually import eventually
from fixtures.marked_work import is_unmarked
from fixtures.mesh import Mesh
from fixtures.scripted_chat import DEATH, MODEL, ScriptedChat, call
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import KeyNotFoundError

from sage_common.errors import TooLargeError, UnavailableError
from sage_platform import subjects

pytestmark = pytest.mark.asyncio(loop_scope="module")


def client_with(mesh: Mesh, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key=key, max_retries=0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(stored_mesh: Mesh) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_with(stored_mesh, "sk-right") as client:
        yield client


async def ended(client: openai.AsyncOpenAI, response_id: str) -> Any:
    """Wait for the end of a response in the background."""

    async def poll() -> Any:
        while True:
            response = await client.responses.retrieve(response_id)
            if response.status not in ("queued", "in_progress"):
                return response
            await asyncio.sleep(0.02)

    return await asyncio.wait_for(poll(), 15)


async def test_a_response_is_there_as_it_was_told(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    told = await client.responses.create(model=MODEL, input="hello", metadata={"a": "b"})
    assert told.store
    assert await client.responses.retrieve(told.id) == told


async def test_a_streamed_response_is_there_when_its_end_is_told(
    client: openai.AsyncOpenAI, engine: ScriptedChat
) -> None:
    stream = await client.responses.create(model=MODEL, input="hello", stream=True)
    events: Any = [event async for event in stream]
    assert events[-1].type == "response.completed"
    assert (await client.responses.retrieve(events[-1].response.id)).output_text == "Hello, world."


async def test_a_conversation_goes_on_from_a_response(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    first = await client.responses.create(model=MODEL, input="hello", instructions="Be brief.")
    second = await client.responses.create(model=MODEL, input="again", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    # Instructions are of one request.
    assert engine.body["messages"] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Hello, world."},
        {"role": "user", "content": "again"},
    ]
    # What a conversation went on from may go.
    await client.responses.delete(first.id)
    await client.responses.create(
        model=MODEL, input=[{"role": "user", "content": "on"}], previous_response_id=second.id
    )
    assert [message["content"] for message in engine.body["messages"] if message["role"] == "user"] == [
        "hello",
        "again",
        "on",
    ]


async def test_a_tools_result_goes_on_from_its_call(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    engine.message = {"role": "assistant", "content": None, "tool_calls": [call("weather", '{"city":"Rome"}')]}
    tools: Any = [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}]
    asked = await client.responses.create(model=MODEL, input="weather?", tools=tools)
    engine.reset()
    result: Any = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    await client.responses.create(model=MODEL, input=[result], previous_response_id=asked.id, tools=tools)
    roles = [message["role"] for message in engine.body["messages"]]
    assert roles == ["user", "assistant", "tool"]
    assert engine.body["messages"][1]["tool_calls"][0]["id"] == "call_1"


async def test_errors_name_the_items_of_the_request_itself(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    first = await client.responses.create(model=MODEL, input="hello")
    wrong: Any = [{"type": "item_reference", "id": "x"}]
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model=MODEL, input=wrong, previous_response_id=first.id)
    assert refused.value.param == "input[0].type"


async def test_tokens_are_counted_with_the_conversation(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    first = await client.responses.create(model=MODEL, input="hello " * 50)
    alone = await client.responses.input_tokens.count(model=MODEL, input="again")
    after = await client.responses.input_tokens.count(model=MODEL, input="again", previous_response_id=first.id)
    assert after.input_tokens > alone.input_tokens + 40


async def test_input_items_are_listed_with_ids_page_by_page(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    first = await client.responses.create(model=MODEL, input="one")
    given: Any = [
        {"role": "user", "content": "two"},
        {"role": "user", "content": [{"type": "input_text", "text": "three"}]},
    ]
    second = await client.responses.create(model=MODEL, input=given, previous_response_id=first.id)
    items: Any = [item async for item in client.responses.input_items.list(second.id, order="asc", limit=1)]
    assert [item.role for item in items] == ["user", "assistant", "user", "user"]
    assert [item.content[0].text for item in items] == ["one", "Hello, world.", "two", "three"]
    assert len({item.id for item in items}) == 4
    latest = await client.responses.input_items.list(second.id, limit=1)
    assert latest.data[0].id == items[-1].id
    with pytest.raises(openai.BadRequestError, match="no item of"):
        await client.responses.input_items.list(second.id, after="msg_nowhere")


async def test_a_response_that_is_deleted_or_was_never_stored_is_not_there(
    client: openai.AsyncOpenAI, engine: ScriptedChat
) -> None:
    kept = await client.responses.create(model=MODEL, input="hello")
    await client.responses.delete(kept.id)
    unstored = await client.responses.create(model=MODEL, input="hello", store=False)
    assert unstored.store is False
    for response_id in (kept.id, unstored.id, "resp_1", "resp_*"):
        for asked in (
            client.responses.retrieve,
            client.responses.delete,
            client.responses.cancel,
            client.responses.input_items.list,
        ):
            with pytest.raises(openai.NotFoundError, match="no response has the id") as missing:
                await asked(response_id)  # type: ignore[operator]
        assert missing.value.code == "response_not_found"
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.responses.create(model=MODEL, input="on", previous_response_id=response_id)
        assert unknown.value.param == "previous_response_id"


async def test_a_response_of_another_tenant_is_not_there(
    client: openai.AsyncOpenAI, stored_mesh: Mesh, engine: ScriptedChat
) -> None:
    mine = await client.responses.create(model=MODEL, input="hello")
    async with client_with(stored_mesh, "sk-other") as other:
        for asked in (other.responses.retrieve, other.responses.delete, other.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                await asked(mine.id)
        with pytest.raises(openai.NotFoundError):
            await other.responses.create(model=MODEL, input="on", previous_response_id=mine.id)
    assert (await client.responses.retrieve(mine.id)).id == mine.id


async def test_a_response_in_the_background_is_polled(client: openai.AsyncOpenAI, engine: ScriptedChat) -> None:
    begun = await client.responses.create(model=MODEL, input="hello", background=True)
    assert (begun.status, begun.background, begun.output) == ("queued", True, [])
    response = await ended(client, begun.id)
    assert (response.status, response.output_text) == ("completed", "Hello, world.")
    assert response.usage.total_tokens == 18
    assert response.created_at == begun.created_at
    assert response.id == begun.id
    gone_on = await client.responses.create(model=MODEL, input="on", previous_response_id=begun.id)
    assert gone_on.status == "completed"


async def test_a_response_in_the_background_tells_why_it_failed(
    client: openai.AsyncOpenAI, engine: ScriptedChat
) -> None:
    engine.fails_before = DEATH
    response = await ended(client, (await client.responses.create(model=MODEL, input="hello", background=True)).id)
    assert response.status == "failed"
    assert response.error.message == "the engine died"
    with pytest.raises(openai.ConflictError, match="is failed"):
        await client.responses.create(model=MODEL, input="on", previous_response_id=response.id)


async def test_a_response_in_the_background_is_cancelled(
    client: openai.AsyncOpenAI, stored_mesh: Mesh, engine: ScriptedChat
) -> None:
    engine.fails_before = None
    waiting = asyncio.Event()
    answer = engine.behaviour

    async def wait(job: Any, reply: Any) -> None:
        waiting.set()
        await asyncio.Event().wait()

    engine.behaviour = wait
    try:
        begun = await client.responses.create(model=MODEL, input="hello", background=True)
        await asyncio.wait_for(waiting.wait(), 10)
        cancelled = await client.responses.cancel(begun.id)
        assert cancelled.status == "cancelled"
        await asyncio.wait_for(engine.job_cancelled.wait(), 10)
    finally:
        engine.behaviour = answer
    assert (await client.responses.cancel(begun.id)).status == "cancelled"
    whole = await client.responses.create(model=MODEL, input="hello")
    with pytest.raises(openai.BadRequestError, match="was not made in the background"):
        await client.responses.cancel(whole.id)


class HeldBack:
    """An engine's answer that waits until it is released."""

    def __init__(self, engine: ScriptedChat, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = asyncio.Event()
        self.released = asyncio.Event()
        self._answer = engine.behaviour
        monkeypatch.setattr(engine, "behaviour", self._wait)

    async def _wait(self, job: Any, reply: Any) -> None:
        self.waiting.set()
        await self.released.wait()
        await self._answer(job, reply)


async def test_an_answer_is_not_given_up_while_jetstream_does_not_answer(
    client: openai.AsyncOpenAI, stored_mesh: Mesh, engine: ScriptedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stored_mesh.responses is not None
    store = stored_mesh.responses.store
    find, change = store.find, store.change
    looked, tried = asyncio.Event(), asyncio.Event()

    async def find_later(*arguments: Any) -> Any:
        if not looked.is_set():
            looked.set()
            raise NatsTimeoutError
        return await find(*arguments)

    async def change_later(*arguments: Any) -> Any:
        if not tried.is_set():
            tried.set()
            raise NatsTimeoutError
        return await change(*arguments)

    held_back = HeldBack(engine, monkeypatch)
    begun = await client.responses.create(model=MODEL, input="hello", background=True)
    await asyncio.wait_for(held_back.waiting.wait(), 10)
    monkeypatch.setattr(store, "find", find_later)
    monkeypatch.setattr(store, "change", change_later)
    await asyncio.wait_for(looked.wait(), 10)
    held_back.released.set()
    response = await ended(client, begun.id)
    assert (response.status, response.output_text) == ("completed", "Hello, world.")
    assert tried.is_set()
    assert len(engine.bodies) == 1


async def test_an_answer_that_is_too_long_to_be_stored_fails_and_is_not_asked_for_again(
    client: openai.AsyncOpenAI, stored_mesh: Mesh, engine: ScriptedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stored_mesh.responses is not None
    store = stored_mesh.responses.store
    change = store.change
    tried = asyncio.Event()

    async def change_shorter(*arguments: Any) -> Any:
        if not tried.is_set():
            tried.set()
            raise TooLargeError("it is too long to be stored")
        return await change(*arguments)

    held_back = HeldBack(engine, monkeypatch)
    begun = await client.responses.create(model=MODEL, input="hello", background=True)
    await asyncio.wait_for(held_back.waiting.wait(), 10)
    monkeypatch.setattr(store, "change", change_shorter)
    held_back.released.set()
    response = await ended(client, begun.id)
    assert (response.status, response.output, response.completed_at) == ("failed", [], None)
    assert "too long to be stored" in response.error.message
    assert len(engine.bodies) == 1


async def test_a_response_that_is_deleted_while_it_is_open_is_marked_no_more(
    client: openai.AsyncOpenAI, stored_mesh: Mesh, engine: ScriptedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stored_mesh.responses is not None
    held_back = HeldBack(engine, monkeypatch)
    begun = await client.responses.create(model=MODEL, input="hello", background=True)
    await asyncio.wait_for(held_back.waiting.wait(), 10)
    await client.responses.delete(begun.id)
    marks = await stored_mesh.responses.store.marks.bucket.get()
    with pytest.raises(KeyNotFoundError):
        await marks.get(subjects.tenant_key(stored_mesh.name, begun.id))
    await asyncio.wait_for(engine.job_cancelled.wait(), 10)


async def test_nothing_is_left_marked_as_open(
    client: openai.AsyncOpenAI, stored_mesh: Mesh, engine: ScriptedChat
) -> None:
    await ended(client, (await client.responses.create(model=MODEL, input="hello", background=True)).id)
    await eventually(lambda: is_unmarked(stored_mesh, subjects.BUCKET_OPEN_RESPONSES, stored_mesh.name))


async def test_a_response_that_cannot_be_stored_is_answered_and_says_so(
    client: openai.AsyncOpenAI, stored_mesh: Mesh, engine: ScriptedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_arguments: Any) -> None:
        raise UnavailableError("JetStream does not answer")

    assert stored_mesh.responses is not None
    monkeypatch.setattr(stored_mesh.responses.store, "add", refuse)
    whole = await client.responses.create(model=MODEL, input="hello")
    assert (whole.output_text, whole.store) == ("Hello, world.", False)
    stream = await client.responses.create(model=MODEL, input="hello", stream=True)
    events: Any = [event async for event in stream]
    assert events[-1].response.store is False
    with pytest.raises(openai.InternalServerError, match="JetStream does not answer"):
        await client.responses.create(model=MODEL, input="hello", store=True)
