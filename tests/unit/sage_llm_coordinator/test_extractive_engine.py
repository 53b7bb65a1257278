"""The extractive engine with a small embedder that can be worked out by hand: one dimension a word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest

from sage_common.errors import InvalidRequestError, UnavailableError
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec
from sage_control_plane.request.features import request_features
from sage_control_plane.request.request import Endpoint
from sage_libs.prompts import Passage, rag_messages
from sage_llm_coordinator.engines.extractive_engine import NO_CONTEXT, NOTHING_RELATED, ExtractiveEngine
from sage_llm_coordinator.engines.extractive_text import text_tokens
from sage_mesh.engine import EngineRequest
from sage_mesh.executor.direct_call import run_here
from sage_mesh.openai_answer import read_delta
from sage_mesh.reply import Media, TokenUsage
from sage_mesh.sse import DONE, SseParser

WORDS = ("ring", "classifier", "lease", "weather")
CONTEXT = "A ring of subjects carries requests. The classifier names the pool. A lease is held by one scheduler."


class WordEmbedder:
    """A vector has a one for each known word in its text."""

    def __init__(self) -> None:
        self.ready = True
        self.texts: list[list[str]] = []

    async def embed(self, texts: Sequence[str], engine_request: EngineRequest) -> npt.NDArray[np.float32]:
        if not self.ready:
            raise UnavailableError("no embedding engine is ready", retryable=True)
        self.texts.append(list(texts))
        return np.array([[float(word in text.lower()) for word in WORDS] for text in texts], dtype=np.float32)


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def engine(embedder: WordEmbedder) -> ExtractiveEngine:
    return ExtractiveEngine(EngineSpec("sage-extractive-0", "extractive", ()), embedder, unix_seconds=lambda: 1.7e9)


def chat(question: str, context: str = CONTEXT, **fields: Any) -> EngineRequest:
    messages = [{"role": "user", "content": f"{context}\n\nQuestion: {question}"}]
    body = orjson.dumps({"model": "sage-extractive", "messages": messages, **fields})
    return EngineRequest("r-1", Endpoint.CHAT_COMPLETIONS, body, "sage-extractive")


def completion(prompt: Any, **fields: Any) -> EngineRequest:
    body = orjson.dumps({"model": "sage-extractive", "prompt": prompt, **fields})
    return EngineRequest("r-2", Endpoint.COMPLETIONS, body, "sage-extractive")


async def ask(engine: ExtractiveEngine, engine_request: EngineRequest) -> tuple[dict[str, Any], TokenUsage]:
    async with run_here(engine, engine_request) as reply:
        assert (await reply.head()).media is Media.JSON
        return orjson.loads(await reply.read()), reply.usage


async def test_it_quotes_the_sentence_that_answers(engine: ExtractiveEngine) -> None:
    value, usage = await ask(engine, chat("What does the classifier do?"))
    assert value["choices"][0]["message"]["content"] == "The classifier names the pool."
    assert value["choices"][0]["finish_reason"] == "stop"
    assert (value["object"], value["model"], value["created"]) == ("chat.completion", "sage-extractive", 1_700_000_000)
    assert value["usage"]["prompt_tokens"] == usage.prompt_tokens
    assert value["usage"]["completion_tokens"] == usage.completion_tokens


async def test_its_counts_are_the_estimators(engine: ExtractiveEngine) -> None:
    engine_request = chat("What is a lease?")
    _, usage = await ask(engine, engine_request)
    messages = orjson.loads(engine_request.body)["messages"]
    assert usage.prompt_tokens == request_features(["user", messages[0]["content"]])[0]
    quoted = "A lease is held by one scheduler."
    assert usage.completion_tokens == request_features([quoted])[0] - 2


async def test_sources_of_sages_own_prompt_are_named(engine: ExtractiveEngine) -> None:
    passages = [Passage("Nothing of note.", "a.md"), Passage(CONTEXT, "b.md")]
    messages = rag_messages("What is a lease?", passages)
    engine_request = EngineRequest(
        "r-1", Endpoint.CHAT_COMPLETIONS, orjson.dumps({"messages": messages}), "sage-extractive"
    )
    value, _ = await ask(engine, engine_request)
    assert value["choices"][0]["message"]["content"] == "A lease is held by one scheduler. [2]"


async def test_a_stream_has_a_chunk_a_sentence_and_its_usage(engine: ExtractiveEngine) -> None:
    engine_request = chat("ring, classifier and lease?", stream=True, stream_options={"include_usage": True})
    async with run_here(engine, engine_request) as reply:
        assert (await reply.head()).media is Media.EVENT_STREAM
        events = SseParser().feed(await reply.read())
    assert events[-1].data == DONE
    chunks = [orjson.loads(event.data) for event in events[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    pieces = [read_delta(event.data) for event in events[:-1]]
    texts = [piece.text for piece in pieces if piece.text]
    assert texts == [
        "A ring of subjects carries requests.",
        " The classifier names the pool.",
        " A lease is held by one scheduler.",
    ]
    assert pieces[-2].finish_reason == "stop"
    assert chunks[-1]["choices"] == []
    assert pieces[-1].usage == reply.usage


async def test_an_answer_that_was_begun_goes_on(engine: ExtractiveEngine) -> None:
    engine_request = chat("ring, classifier and lease?")
    value, whole = await ask(engine, engine_request)
    text = value["choices"][0]["message"]["content"]
    body = orjson.loads(engine_request.body)
    for cut in (1, 36, 40, len(text)):
        started = {"role": "assistant", "content": text[:cut]}
        going_on = {**body, "messages": [*body["messages"], started], "continue_final_message": True}
        rest, usage = await ask(engine, replace(engine_request, body=orjson.dumps(going_on)))
        assert text[:cut] + rest["choices"][0]["message"]["content"] == text
        assert usage.prompt_tokens == whole.prompt_tokens + text_tokens(text[:cut])


async def test_an_answer_that_was_begun_otherwise_is_refused(engine: ExtractiveEngine) -> None:
    engine_request = chat("What is a lease?")
    body = orjson.loads(engine_request.body)
    body["messages"].append({"role": "assistant", "content": "Well,"})
    with pytest.raises(InvalidRequestError, match="'Well,', which is not how the answer"):
        await ask(engine, replace(engine_request, body=orjson.dumps({**body, "continue_final_message": True})))


async def test_a_stream_without_the_option_has_no_usage(engine: ExtractiveEngine) -> None:
    async with run_here(engine, chat("lease?", stream=True)) as reply:
        assert b"usage" not in await reply.read()


async def test_a_completion_is_answered_too(engine: ExtractiveEngine) -> None:
    value, _ = await ask(engine, completion(f"{CONTEXT}\nQuestion: What is a lease?\nAnswer:"))
    assert value["object"] == "text_completion"
    assert value["choices"][0]["text"] == "A lease is held by one scheduler."


async def test_a_streamed_completion_has_text_and_no_role(engine: ExtractiveEngine) -> None:
    async with run_here(engine, completion(f"{CONTEXT}\nWhat is a lease?", stream=True)) as reply:
        events = SseParser().feed(await reply.read())
    first = orjson.loads(events[0].data)
    assert first["choices"][0]["text"] == "A lease is held by one scheduler."


@pytest.mark.parametrize("limit", [1, 4, 9, 15])
async def test_max_tokens_is_kept_and_the_text_ends_with_a_word(engine: ExtractiveEngine, limit: int) -> None:
    value, usage = await ask(engine, chat("ring, classifier and lease?", max_tokens=limit))
    whole, _ = await ask(engine, chat("ring, classifier and lease?"))
    text = value["choices"][0]["message"]["content"]
    full = whole["choices"][0]["message"]["content"]
    assert value["choices"][0]["finish_reason"] == "length"
    assert usage.completion_tokens <= limit
    assert full.startswith(text)
    assert re.match(r"\s|$", full[len(text) :])
    assert text


async def test_a_stop_string_ends_the_answer_before_it(engine: ExtractiveEngine) -> None:
    value, _ = await ask(engine, chat("ring and classifier?", stop=["the pool", ". The"]))
    assert value["choices"][0]["message"]["content"] == "A ring of subjects carries requests"
    assert value["choices"][0]["finish_reason"] == "stop"


async def test_without_context_it_says_honestly_that_it_only_quotes(
    engine: ExtractiveEngine, embedder: WordEmbedder
) -> None:
    value, _ = await ask(engine, chat("What is the weather?", context=""))
    assert value["choices"][0]["message"]["content"] == NO_CONTEXT
    assert embedder.texts == []


async def test_an_unrelated_context_is_said_to_be_unrelated(engine: ExtractiveEngine) -> None:
    value, _ = await ask(engine, chat("What is the weather?"))
    assert value["choices"][0]["message"]["content"] == NOTHING_RELATED


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_object"}},
        {"logprobs": True},
        {"guided_json": {}},
    ],
)
async def test_what_extraction_cannot_do_is_refused(engine: ExtractiveEngine, fields: dict[str, Any]) -> None:
    async with run_here(engine, chat("What is a lease?", **fields)) as reply:
        with pytest.raises(InvalidRequestError, match="does not generate") as caught:
            await reply.read()
    assert caught.value.param == next(iter(fields))


async def test_harmless_values_of_the_same_fields_are_accepted(engine: ExtractiveEngine) -> None:
    harmless = {"n": 1, "tools": [], "response_format": {"type": "text"}, "logprobs": False, "temperature": 0.3}
    value, _ = await ask(engine, chat("What is a lease?", **harmless))
    assert value["choices"]


@pytest.mark.parametrize("prompt", [["one", "two"], [1, 2, 3]])
async def test_several_prompts_and_token_ids_are_refused(engine: ExtractiveEngine, prompt: Any) -> None:
    async with run_here(engine, completion(prompt)) as reply:
        with pytest.raises(InvalidRequestError, match="one prompt of text"):
            await reply.read()


async def test_it_is_ready_only_while_an_embedder_is(engine: ExtractiveEngine, embedder: WordEmbedder) -> None:
    embedder.ready = False
    assert engine.phase is EnginePhase.STARTING
    assert "embedding engine" in engine.reason
    embedder.ready = True
    assert engine.phase is EnginePhase.READY
    embedder.ready = False
    assert engine.phase is EnginePhase.UNHEALTHY
    async with run_here(engine, chat("What is a lease?")) as reply:
        with pytest.raises(UnavailableError) as caught:
            await reply.read()
    assert caught.value.retryable


async def test_the_model_card_says_what_it_is(engine: ExtractiveEngine) -> None:
    (card,) = engine.spec.models
    assert (card.name, card.owned_by) == ("sage-extractive", "sage")
    assert "does not generate" in card.description
