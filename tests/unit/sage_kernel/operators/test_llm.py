from __future__ import annotations

from typing import Any

from sage_kernel.builder import Pipeline
from sage_kernel.runtime.local import LocalRunner
from sage_libs.prompts import RAG_SYSTEM, RAG_TEMPLATE, Passage, rag_messages


async def test_the_answer_and_its_model_are_added(models: Any) -> None:
    pipeline = Pipeline("p")
    pipeline.source(records=[{"text": "hi"}]).llm("{text}", into="reply", model="big").sink("collection:out")
    result = await LocalRunner(models).run(pipeline.build())
    assert result.collections["out"] == [{"text": "hi", "reply": "HI", "reply_model": "big"}]


async def test_retrieved_passages_are_asked_about_as_the_rag_prompt_says(models: Any) -> None:
    pipeline = Pipeline("p")
    passages = [{"text": "Sky.", "path": "a.md"}]
    source = pipeline.source(records=[{"question": "Which?", "context": passages}])
    source.llm(RAG_TEMPLATE, system=RAG_SYSTEM).sink("collection:out")
    await LocalRunner(models).run(pipeline.build())
    assert models.chats == [rag_messages("Which?", [Passage("Sky.", "a.md")])]
