from __future__ import annotations

import asyncio
from typing import Any

from sage_dataflow_worker.kept_answers import MAX_ANSWER_BYTES, KeptAnswers
from sage_kernel.builder import Pipeline
from sage_platform.kv import open_bucket


async def test_an_answer_is_its_tenants_and_found_until_it_is_too_old(workplace: Any) -> None:
    worker = await workplace.worker("one")
    bucket = await open_bucket(worker.ring.connection.jetstream(), "answers")
    now = 1000.0
    mine, yours = (KeptAnswers(bucket, tenant, lambda: now) for tenant in ("me", "you"))
    await mine.put("k", b"text")
    assert await mine.get("k", None) == b"text"
    assert await yours.get("k", None) is None
    now = 1061.0
    assert await mine.get("k", 60) is None
    await mine.put("long", b"x" * (MAX_ANSWER_BYTES + 1))
    assert await mine.get("long", None) is None


async def test_a_task_that_goes_on_elsewhere_pays_for_no_answer_twice(workplace: Any) -> None:
    first = await workplace.worker("a")
    pipeline = Pipeline("p")
    rows = [{"text": f"text {number}"} for number in range(40)]
    pipeline.source(records=rows).llm("{text}", concurrency=4).sink("collection:out")
    first.models.gate.set()
    slow = asyncio.Event()
    first.models.stops_after(20, slow)
    await first.api.submit(pipeline.to_yaml(), "mine")
    await asyncio.wait_for(slow.wait(), 20)
    second = await workplace.worker("b")
    second.models.gate.set()
    await first.die()
    await second.until("mine", "SUCCEEDED")
    records = [r["answer"] for m in await second.results("mine") if "records" in m for r in m["records"]]
    assert sorted(records) == sorted(f"TEXT {number}" for number in range(40))
    # At most what was in flight, when the first worker died, is asked again.
    assert 20 <= second.models.chats <= 20 + 4
