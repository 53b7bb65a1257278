"""Calls of a model that answers after 50 ms: how near a pipeline comes to the time that they need."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sage_benchmark.dataflow.measurement import DataflowPlan, Figure
from sage_common.errors import UnimplementedError
from sage_kernel.builder import Pipeline
from sage_kernel.model_port import ChatText, Embeddings, Ranking
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.spec import PipelineSpec

CALLS, CONCURRENCY, CALL_SECONDS = 1000, 64, 0.05
# What no order of the calls can beat.
IDEAL_SECONDS = -(-CALLS // CONCURRENCY) * CALL_SECONDS


class SleepingModel:
    """Answers each call after the same time, as an engine with room for all of them does."""

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        **options: Any,
    ) -> ChatText:
        """Return the last message's text."""
        await asyncio.sleep(CALL_SECONDS)
        return ChatText(messages[-1]["content"], "sleeping")

    async def embed(self, texts: Sequence[str], model: str | None = None, **options: Any) -> Embeddings:
        """Embed nothing."""
        raise UnimplementedError("the model of this measurement only chats")

    async def rank(
        self, query: str, documents: Sequence[str], model: str | None = None, *, target_seconds: float | None = None
    ) -> Ranking:
        """Rank nothing."""
        raise UnimplementedError("the model of this measurement only chats")


def model_calls(plan: DataflowPlan, folder: Path) -> list[Figure]:
    """Measure 1,000 calls at concurrency 64, answers that are kept and answers that are not."""
    figures = []
    for name, cache in (("1,000 model calls of 50 ms", None), ("the same, answers kept", "1h")):
        seconds, cpu = [], []
        for number in range(plan.repetitions):
            runner = LocalRunner(SleepingModel(), cache_dir=folder / f"{name}-{number}")
            gc.collect()
            began = time.process_time()
            seconds.append(asyncio.run(runner.run(_pipeline(cache))).seconds)
            cpu.append(time.process_time() - began)
        ratios = tuple(each / IDEAL_SECONDS for each in seconds)
        figures.append(Figure(name, min(ratios), "× the ideal", 1.1, at_most=True, runs=ratios))
        figures.append(Figure("processor time of a call", 1000 * min(cpu) / CALLS, "ms"))
    return figures


def _pipeline(cache: str | None) -> PipelineSpec:
    pipeline = Pipeline("calls")
    source = pipeline.source(records=[{"text": f"text {number}"} for number in range(CALLS)])
    options = {} if cache is None else {"cache": cache}
    source.llm("{text}", concurrency=CONCURRENCY, **options).sink("collection:out")
    return pipeline.build()
