from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fixtures.eventually import eventually

from sage_kernel.builder import Pipeline
from sage_kernel.runtime import local
from sage_kernel.runtime.local import LocalRunner
from sage_libs.prompts import RAG_SYSTEM, RAG_TEMPLATE, Passage, rag_messages


async def test_the_answer_and_its_model_are_added(models: Any) -> None:
    pipeline = Pipeline("p")
    pipeline.source(records=[{"text": "hi"}]).llm("{text}", into="reply", model="big").sink("collection:out")
    result = await LocalRunner(models).run(pipeline.build())
    assert result.collections["out"] == [{"text": "hi", "reply": "HI", "reply_model": "big"}]


async def test_an_answer_takes_the_place_of_a_field_of_its_name(models: Any) -> None:
    pipeline = Pipeline("p")
    source = pipeline.source(records=[{"answer": "old", "text": "hi"}])
    source.llm("{text}", model="big").sink("collection:out")
    result = await LocalRunner(models).run(pipeline.build())
    assert result.collections["out"] == [{"answer": "HI", "text": "hi", "answer_model": "big"}]


async def test_retrieved_passages_are_asked_about_as_the_rag_prompt_says(models: Any) -> None:
    pipeline = Pipeline("p")
    passages = [{"text": "Sky.", "path": "a.md"}]
    source = pipeline.source(records=[{"question": "Which?", "context": passages}])
    source.llm(RAG_TEMPLATE, system=RAG_SYSTEM).sink("collection:out")
    await LocalRunner(models).run(pipeline.build())
    assert models.chats == [rag_messages("Which?", [Passage("Sky.", "a.md")])]


async def test_an_answer_of_a_stated_form_becomes_fields(models: Any) -> None:
    models.answers["hi"] = ['{"topic": "greeting", "urgency": 1}']
    pipeline = Pipeline("p")
    source = pipeline.source(records=[{"text": "hi"}])
    source.llm("{text}", out={"topic": "string", "urgency": "int"}).sink("collection:out")
    result = await LocalRunner(models).run(pipeline.build())
    assert result.collections["out"] == [{"text": "hi", "topic": "greeting", "urgency": 1}]
    assert models.schemas[0]["required"] == ["topic", "urgency"]
    assert "JSON Schema" in models.chats[0][0]["content"]


async def test_a_model_that_misses_the_form_is_told_why_and_asked_again_a_few_times(models: Any) -> None:
    models.answers["hi"] = ["No.", '{"urgency": "high"}']
    pipeline = Pipeline("p")
    source = pipeline.source(records=[{"text": "hi"}])
    source.llm("{text}", out={"urgency": "int"}, reasks=1, on_error="dlq").sink("collection:out")
    models.answers[""] = []
    told: list[str] = []
    chat = models.chat

    async def answer(messages: Any, *arguments: Any, **options: Any) -> Any:
        told.append(messages[-1]["content"])
        return await chat([{"role": "user", "content": "hi"}], *arguments, **options)

    models.chat = answer
    result = await LocalRunner(models).run(pipeline.build())
    assert [letter.record for letter in result.dead_letters] == [{"text": "hi"}]
    assert "none of 2 answers" in result.dead_letters[0].error
    assert "not JSON" in told[1]


async def test_an_answer_that_may_be_used_again_is_not_asked_for_again(models: Any, tmp_path: Path) -> None:
    def pipeline(text: str = "hi", **parameters: Any) -> Any:
        built = Pipeline("p")
        source = built.source(records=[{"text": text, "n": n} for n in range(5)])
        source.llm("{text}", **parameters).sink("collection:out")
        return built.build()

    runner = LocalRunner(models, cache_dir=tmp_path)
    first = await runner.run(pipeline(cache="1h"))
    assert len(models.chats) == 1
    assert await runner.run(pipeline(cache="1h")) != first  # other times, the same records
    assert len(models.chats) == 1
    await runner.run(pipeline(cache="1h", temperature=0.5))
    await runner.run(pipeline("other", cache="1h"))
    assert len(models.chats) == 3
    await runner.run(pipeline())
    assert len(models.chats) == 8


class SlowAnswers:
    """Keeps nothing before it is told to."""

    def __init__(self, path: Path) -> None:
        self.looked_up: list[str] = []
        self.may_keep = asyncio.Event()

    async def get(self, key: str, max_age_seconds: float | None) -> bytes | None:
        self.looked_up.append(key)
        return None

    async def put(self, key: str, answer: bytes) -> None:
        await self.may_keep.wait()

    def close(self) -> None:
        pass


async def test_answers_are_looked_up_ahead_and_no_more_are_on_their_way_than_the_node_may_ask_for(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SlowAnswers(tmp_path)
    monkeypatch.setattr(local, "FileAnswers", lambda path: store)
    pipeline = Pipeline("p")
    source = pipeline.source(records=[{"text": str(number)} for number in range(9)])
    source.llm("{text}", concurrency=2, cache="1h").sink("collection:out")
    run = asyncio.create_task(LocalRunner(models, cache_dir=tmp_path).run(pipeline.build()))
    await eventually(lambda: len(store.looked_up) == 4)
    await eventually(lambda: len(models.chats) == 2)
    # What a kill would lose: nothing further is asked before an answer is kept.
    for _ in range(20):
        await asyncio.sleep(0)
    assert (len(store.looked_up), len(models.chats)) == (4, 2)
    store.may_keep.set()
    assert len((await run).collections["out"]) == len(models.chats) == 9


async def test_requests_carry_the_share_of_the_deadline_or_their_own_target(models: Any) -> None:
    spec = Pipeline("p")
    spec.source(records=[{"text": "hi"}]).embed().llm("{text}", slo="2s").sink("collection:out")
    built = spec.build()
    timed = built.model_copy(update={"settings": built.settings.model_copy(update={"deadline": 60_000_000})})
    await LocalRunner(models).run(timed)
    assert models.targets[0] == pytest.approx(30, abs=5)
    assert models.targets[1] == 2.0
    await LocalRunner(models).run(built)
    assert models.targets[2:] == [None, 2.0]
