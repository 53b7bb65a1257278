from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fixtures.eventually import eventually
from fixtures.manual_clock import ManualClock

from sage_common.errors import InternalError, NotFoundError, UnavailableError
from sage_kernel.builder import Pipeline, Stream
from sage_kernel.problems import NodeFailedError, PipelineInvalidError
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.runtime.progress import NodeCounts, RunResult
from sage_kernel.spec import API_VERSION, Metadata, PipelineSpec


def numbered(pipeline: Pipeline, count: int) -> Stream:
    return pipeline.source(records=[{"n": n, "text": f"text {n}"} for n in range(count)])


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


def runner(models: Any, **options: Any) -> LocalRunner:
    return LocalRunner(models, sleep=no_sleep, **options)


async def run(models: Any, pipeline: Pipeline, **options: Any) -> RunResult:
    return await asyncio.wait_for(runner(models, **options).run(pipeline.build()), 20)


def answers(result: RunResult, name: str = "out") -> list[int]:
    return [record["n"] for record in result.collections[name]]


async def test_every_record_goes_through_once(models: Any) -> None:
    pipeline = Pipeline("p")
    numbered(pipeline, 1000).embed("{text}", batch=7).sink("collection:out", fields=["n", "vector"])
    result = await run(models, pipeline)
    assert sorted(answers(result)) == list(range(1000))
    assert set(result.collections["out"][0]) == {"n", "vector"}
    assert max(models.embed_calls) <= 7
    counts = {node: (c.records_in, c.records_out) for node, c in result.counts.items()}
    assert counts == {"source": (0, 1000), "embed": (1000, 1000), "sink": (1000, 0)}


async def test_a_slow_answer_holds_up_no_other(models: Any) -> None:
    models.gates["text 0"] = asyncio.Event()
    pipeline = Pipeline("p")
    numbered(pipeline, 20).llm("{text}", concurrency=2).sink("collection:out")
    finished = 0

    def watch(node: str, counts: NodeCounts) -> None:
        nonlocal finished
        if node == "llm":
            finished = counts.records_out
            if finished == 19:
                models.gates["text 0"].set()

    result = await asyncio.wait_for(runner(models).run(pipeline.build(), watch), 20)
    assert answers(result)[-1] == 0
    assert sorted(answers(result)) == list(range(20))
    assert models.most_chats == 2


async def test_order_is_kept_where_asked(models: Any) -> None:
    models.gates["text 0"] = asyncio.Event()
    pipeline = Pipeline("p")
    numbered(pipeline, 50).llm("{text}", concurrency=4, ordered=True).sink("collection:out")
    running = asyncio.create_task(run(models, pipeline))
    await eventually(lambda: len(models.chats) == 4)
    models.gates["text 0"].set()
    assert answers(await running) == list(range(50))


async def test_a_slow_node_slows_the_source(models: Any) -> None:
    gate = asyncio.Event()
    pipeline = Pipeline("p")
    total = 50_000
    models.gates.update({f"text {n}": gate for n in range(total)})
    numbered(pipeline, total).llm("{text}", concurrency=1).sink("collection:out")
    counts: dict[str, int] = {}
    running = asyncio.create_task(
        runner(models, queue_batches=2).run(pipeline.build(), lambda node, c: counts.update({node: c.records_out}))
    )
    await eventually(lambda: bool(models.chats))
    for _ in range(200):
        await asyncio.sleep(0)
    # Two batches wait in the queue, one is with the node, one is being handed over.
    assert counts["source"] <= 4 * 256
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_first_error_fails_the_run_and_names_the_node(models: Any) -> None:
    models.failures["text 3"] = [NotFoundError("no model 'x'")]
    pipeline = Pipeline("p")
    numbered(pipeline, 10).llm("{text}").sink("collection:out")
    with pytest.raises(NodeFailedError, match=r"node 'llm' \(llm\) failed: no model 'x'") as caught:
        await run(models, pipeline)
    assert isinstance(caught.value.cause, NotFoundError)
    assert models.chats_now == 0


async def test_no_task_outlives_a_failed_or_cancelled_run(models: Any) -> None:
    before = asyncio.all_tasks()
    pipeline = Pipeline("p")
    numbered(pipeline, 10).llm("{text}", retries=0).sink("collection:out")
    models.gates.update({f"text {n}": asyncio.Event() for n in range(10)})
    running = asyncio.create_task(run(models, pipeline))
    await eventually(lambda: models.chats_now == 8)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert models.chats_now == 0
    models.gates.clear()
    models.failures = {f"text {n}": [InternalError("broken")] for n in range(10)}
    with pytest.raises(NodeFailedError):
        await run(models, pipeline)
    assert asyncio.all_tasks() == before


async def test_a_record_that_fails_is_skipped_or_kept_as_a_dead_letter(models: Any) -> None:
    for policy, letters in (("skip", 0), ("dlq", 1)):
        models.failures["text 3"] = [NotFoundError("gone")]
        pipeline = Pipeline("p")
        numbered(pipeline, 10).llm("{text}", on_error=policy).sink("collection:out")
        result = await run(models, pipeline)
        assert sorted(answers(result)) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
        assert result.counts["llm"].records_failed == 1
        assert [(x.node, x.record["n"], x.error, x.attempts) for x in result.dead_letters] == [
            ("llm", 3, "gone", 1)
        ] * letters


async def test_one_bad_record_does_not_take_its_batch_along(models: Any) -> None:
    pipeline = Pipeline("p")
    source = pipeline.source(records=[{"text": "good", "n": 1}, {"text": "bad", "n": 2}, {"text": "fine", "n": 3}])
    source.embed("{text}").retrieve("kb", on_error="dlq", by="n").sink("collection:out")
    pipeline.source(records=[{"text": "x"}]).embed().index("kb")
    result = await run(models, pipeline)
    assert len(result.dead_letters) == 3
    assert "shape" in result.dead_letters[0].error


async def test_an_error_that_may_pass_is_tried_again_and_another_is_not(models: Any) -> None:
    models.failures["text 0"] = [UnavailableError("down"), UnavailableError("down")]
    pipeline = Pipeline("p")
    numbered(pipeline, 1).llm("{text}", retries=2).sink("collection:out")
    assert answers(await run(models, pipeline)) == [0]
    assert len(models.chats) == 3
    models.failures["text 0"] = [UnavailableError("down")] * 3
    with pytest.raises(NodeFailedError, match="down"):
        await run(models, pipeline)
    models.chats.clear()
    models.failures["text 0"] = [NotFoundError("no"), NotFoundError("no")]
    with pytest.raises(NodeFailedError, match="no"):
        await run(models, pipeline)
    assert len(models.chats) == 1


async def test_branches_each_get_every_record_and_a_union_gets_both(models: Any) -> None:
    pipeline = Pipeline("p")
    source = numbered(pipeline, 5)
    left, right = source.embed(id="left"), source.embed(id="right")
    pipeline.add("sink", "collection:both", inputs=[left, right])
    left.sink("collection:left")
    result = await run(models, pipeline)
    assert sorted(answers(result, "both")) == sorted([*range(5), *range(5)])
    assert sorted(answers(result, "left")) == list(range(5))


async def test_retrieval_waits_for_the_whole_index(models: Any) -> None:
    pipeline = Pipeline("p")
    pipeline.source(records=[{"text": "bbb"}], id="question").embed().retrieve("kb", k=2).sink("collection:out")
    docs = [{"text": letter * 3, "id": letter} for letter in "abcb"]
    pipeline.source(records=docs, id="docs").embed(batch=1).index("kb")
    result = await run(models, pipeline)
    hits = result.collections["out"][0]["context"]
    assert [hit["text"] for hit in hits] == ["bbb", "aaa"]
    assert "vector" not in hits[0]
    assert hits[0]["score"] == pytest.approx(1.0)
    assert result.counts["kb"].records_in == 4


async def test_a_stream_may_search_an_index_made_of_itself_without_a_deadlock(models: Any) -> None:
    pipeline = Pipeline("p")
    embedded = numbered(pipeline, 5000).embed()
    embedded.index("kb")
    embedded.retrieve("kb", k=1).sink("collection:out")
    result = await run(models, pipeline, queue_batches=1)
    assert len(result.collections["out"]) == 5000


async def test_a_wrong_graph_does_not_run(models: Any) -> None:
    spec = PipelineSpec(api_version=API_VERSION, kind="Pipeline", metadata=Metadata(name="p"), nodes={})
    pipeline = Pipeline("p")
    numbered(pipeline, 1).sink("collection:out")
    broken = spec.model_copy(update={"nodes": {"sink": pipeline.build().nodes["sink"]}})
    with pytest.raises(PipelineInvalidError, match="no node 'source'"):
        await runner(models).run(broken)


async def test_time_spent_is_measured_with_the_given_clock(models: Any, tmp_path: Path) -> None:
    clock = ManualClock()
    chat = models.chat

    async def timed(*arguments: Any, **options: Any) -> Any:
        clock.advance(0.5)
        return await chat(*arguments, **options)

    models.chat = timed
    pipeline = Pipeline("p")
    numbered(pipeline, 3).llm("{text}", concurrency=1).sink("collection:out")
    result = await run(models, pipeline, clock=clock)
    assert result.counts["llm"].busy_seconds == pytest.approx(1.5)
    assert result.seconds == pytest.approx(1.5)
