"""The harness for users' pipelines, on pipelines that need each part of it."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from sage_common.errors import InvalidRequestError, UnavailableError
from sage_kernel.builder import Pipeline
from sage_kernel.model_port import ChatText
from sage_kernel.problems import NodeFailedError
from sage_kernel.testing import PipelineTest

SCHEMA = {"topic": "string", "at": "timestamp"}


def minute(number: int, topic: str = "a") -> dict[str, Any]:
    return {"topic": topic, "at": f"2026-01-01T00:{number:02}:00Z"}


def counted(idle_after: str | None = None) -> Pipeline:
    pipeline = Pipeline("stats")
    options = {"idle_after": idle_after} if idle_after else {}
    left = pipeline.source("jsonl:left.jsonl", id="left", schema=SCHEMA, event_time="at", lateness="1m", **options)
    right = pipeline.source("jsonl:right.jsonl", id="right", schema=SCHEMA, event_time="at", **options)
    both = pipeline.add("union", inputs=[left, right])
    windows = both.key_by("topic").window(tumbling="10m")
    windows.aggregate(id="counts", aggs={"n": "count()"}).sink("jsonl:stats.jsonl", id="stats")
    return pipeline


async def test_windows_are_given_out_when_the_slower_source_is_behind_them() -> None:
    async with PipelineTest(counted()) as test:
        await test.push("left", minute(1), minute(12))
        assert test.watermark("left") == datetime(2026, 1, 1, 0, 11, tzinfo=timezone.utc)
        assert test.watermark("union") is None
        await test.push("right", minute(5), minute(13))
        assert [(r["topic"], r["n"]) for r in test.read("stats")] == [("a", 2)]
        await test.push("left", minute(2))
        assert test.counts("counts").records_late == 1
        assert test.counts("counts").records_dropped == 1
        await test.end()
        assert sorted(r["n"] for r in test.read("stats")) == [2, 2]
        assert test.watermark("stats") is None
        assert test.watermark("left") == datetime.max.replace(tzinfo=timezone.utc)


async def test_a_silent_source_falls_idle_after_its_time_and_holds_nobody_back() -> None:
    async with PipelineTest(counted(idle_after="30s")) as test:
        await test.push("left", minute(1), minute(12))
        await test.advance("29s")
        assert test.read("stats") == []
        await test.push("left", minute(14))
        await test.advance("2s")
        assert [r["n"] for r in test.read("stats")] == [1]


class SlowModel:
    """Answers after a minute, and fails as often as it is told."""

    def __init__(self) -> None:
        self.sleep = asyncio.sleep
        self.failures = 0
        self.calls = 0

    async def chat(self, messages: Any, *_: Any, **__: Any) -> ChatText:
        self.calls += 1
        await self.sleep(60)
        if self.failures:
            self.failures -= 1
            raise UnavailableError("away", retry_after_seconds=4)
        return ChatText(messages[-1]["content"].upper(), "slow")


def asking(**options: Any) -> Pipeline:
    pipeline = Pipeline("asking")
    source = pipeline.source("jsonl:in.jsonl", id="questions", schema={"text": "string"})
    source.llm("{text}", id="answers", **options).sink("jsonl:out.jsonl", id="out")
    return pipeline


async def test_a_slow_model_and_attempts_that_are_made_again_take_no_real_time() -> None:
    model: Any = SlowModel()
    async with PipelineTest(asking(retries=1, concurrency=2), models=model) as test:
        model.sleep = test.time.sleep
        model.failures = 1
        await test.push("questions", {"text": "a"}, {"text": "b"}, {"text": "c"})
        assert model.calls == 2
        await test.advance("1m")
        assert [r["answer"] for r in test.read("out")] == ["B"]
        await test.advance(timedelta(seconds=64))
        assert sorted(r["answer"] for r in test.read("out")) == ["A", "B", "C"]
        assert test.time.now() == 124


async def test_what_is_in_flight_survives_a_crash() -> None:
    model: Any = SlowModel()
    async with PipelineTest(asking(concurrency=2), models=model) as test:
        model.sleep = test.time.sleep
        await test.push("questions", {"text": "a"}, {"text": "b"}, {"text": "c"})
        await test.advance("1m")
        await test.crash_and_resume()
        assert len(test.read("out")) == 2
        await test.end()
        await test.advance("1m")
        assert sorted(r["answer"] for r in test.read("out")) == ["A", "B", "C"]
        assert model.calls == 4


async def test_windows_go_on_after_a_crash() -> None:
    async with PipelineTest(counted()) as test:
        await test.push("left", minute(1), minute(2))
        await test.push("right", minute(3))
        await test.crash_and_resume()
        await test.push("left", minute(4))
        await test.end()
        assert [r["n"] for r in test.read("stats")] == [4]


async def test_a_failure_is_raised_where_it_was_caused() -> None:
    model: Any = SlowModel()
    async with PipelineTest(asking(retries=0), models=model) as test:
        model.sleep = test.time.sleep
        model.failures = 1
        await test.push("questions", {"text": "a"})
        with pytest.raises(
            NodeFailedError, match=r"node 'answers' \(llm\) failed: away; at the record \{'text': 'a'\}"
        ):
            await test.advance("1m")


async def test_names_and_records_that_do_not_fit_are_refused() -> None:
    async with PipelineTest(counted()) as test:
        with pytest.raises(InvalidRequestError, match="no source 'middle'; the sources are left, right"):
            await test.push("middle", minute(1))
        with pytest.raises(InvalidRequestError, match="pushed into 'left'"):
            await test.push("left", {"topic": "a", "at": "soon"})
        with pytest.raises(InvalidRequestError, match="no sink 'left'; the sinks are stats"):
            test.read("left")
        await test.end("left")
        with pytest.raises(InvalidRequestError, match="has ended"):
            await test.push("left", minute(1))
    pipeline = Pipeline("p")
    pipeline.source("jsonl:in.jsonl", id="open").sink("jsonl:out.jsonl")
    with pytest.raises(InvalidRequestError, match="does not state its fields"):
        PipelineTest(pipeline)


async def test_the_example_of_the_documentation_passes() -> None:
    text = await asyncio.to_thread((Path(__file__).parents[3] / "docs/testing-pipelines.md").read_text)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "testing-pipelines.md", "exec"), names)
    await names["test_tickets_are_counted_by_the_minute"]()
