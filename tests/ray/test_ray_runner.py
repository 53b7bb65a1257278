"""Pipelines on a real Ray: what comes out is what the local runner gives."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.fake_models import FakeModels

from sage_common.errors import NotFoundError
from sage_kernel.builder import Pipeline
from sage_kernel.model_port import ChatText
from sage_kernel.problems import NodeFailedError
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.runtime.progress import RunResult
from sage_kernel.spec import PipelineSpec

# Of Ray's own code.
pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


@pytest.fixture
def port() -> Any:
    """The class of the models; Ray gets it by value, since its workers do not have these modules."""
    import ray

    for module in (FakeModels.__module__, __name__):
        ray.cloudpickle.register_pickle_by_value(sys.modules[module])
    return FakeModels


async def on_both(port: Any, spec: PipelineSpec, **options: Any) -> tuple[RunResult, RunResult]:
    from sage_kernel.ray_runtime.runner import RayRunner

    local = await LocalRunner(port(), **options).run(spec)
    return local, await asyncio.wait_for(RayRunner(port, **options).run(spec), 220)


def rows(result: RunResult, name: str = "out") -> list[str]:
    return sorted(json.dumps(record, sort_keys=True, default=str) for record in result.collections[name])


@pytest.mark.timeout(300)
async def test_a_pipeline_gives_the_same_records_as_the_local_runner(port: Any, tmp_path: Path) -> None:
    pipeline = Pipeline("p")
    documents = [{"n": n, "text": f"text {'abcdefg'[n % 7]}"} for n in range(700)]
    source = pipeline.source(records=documents, id="docs")
    source.embed(id="vectors").index("kb")
    asked = pipeline.source(records=[{"text": "abc"}, {"text": "gg"}], id="questions").embed()
    found = asked.retrieve("kb", k=2, into="context").rerank("{text}")
    found.llm("{text}").sink("collection:out", fields=["text", "context", "answer"])
    source.llm("{text}", concurrency=16).sink(f"jsonl:{tmp_path}/all.jsonl", fields=["n", "answer"])
    local, on_ray = await on_both(port, pipeline.build())
    assert rows(on_ray) == rows(local)
    assert len(local.collections["out"]) == 2
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["n"] for line in lines) == list(range(700))
    assert {name: (c.records_in, c.records_out) for name, c in on_ray.counts.items() if name != "kb"} == {
        name: (c.records_in, c.records_out) for name, c in local.counts.items() if name != "kb"
    }


class Picky:
    """Refuses one prompt."""

    async def chat(self, messages: Any, *limits: Any, **options: Any) -> ChatText:
        if messages[-1]["content"] == "text 3":
            raise NotFoundError("no model 'x'")
        return ChatText("fine", "picky")


@pytest.mark.timeout(120)
async def test_a_record_that_fails_is_a_dead_letter_or_ends_the_run_with_its_node(port: Any) -> None:
    from sage_kernel.ray_runtime.runner import RayRunner

    def pipeline(on_error: str) -> PipelineSpec:
        built = Pipeline("p")
        source = built.source(records=[{"text": f"text {n}"} for n in range(6)])
        source.llm("{text}", on_error=on_error).sink("collection:out")
        return built.build()

    runner = RayRunner(Picky)  # type: ignore[arg-type]
    result = await runner.run(pipeline("dlq"))
    assert len(result.collections["out"]) == 5
    assert [(letter.node, letter.record, letter.error) for letter in result.dead_letters] == [
        ("llm", {"text": "text 3"}, "no model 'x'")
    ]
    assert result.counts["llm"].records_failed == 1
    with pytest.raises(NodeFailedError, match=r"node 'llm' \(llm\) failed: no model 'x'"):
        await runner.run(pipeline("fail"))


@pytest.mark.timeout(300)
async def test_windows_joins_and_functions_give_the_same_records_too(port: Any) -> None:
    pipeline = Pipeline("p")
    schema = {"at": "timestamp", "shop": "string", "price": "float"}
    orders = [
        {"at": f"2024-05-01T10:{n // 60:02}:{n % 60:02}Z", "shop": [None, "a", "b"][n % 3], "price": float(n % 10)}
        for n in range(600)
    ]
    source = pipeline.source(records=orders, schema=schema, event_time="at")
    wanted = source.filter("price > 0").map(fields={"twice": "price * 2"})
    windowed = wanted.key_by("shop").window(tumbling="1m")
    windowed.aggregate(aggs={"n": "count()", "total": "sum(twice)"}).sink("collection:minutes")
    wanted.key_by("shop").window(session="3s").aggregate(aggs={"n": "count()"}).sink("collection:sessions")
    wanted.aggregate(aggs={"n": "count()"}).sink("collection:all")
    shops = pipeline.source(records=[{"id": "a", "town": "Ulm"}, {"id": "c", "town": "Bonn"}], id="shops")
    pipeline.add(
        "join", inputs=[wanted, shops], left_on=["shop"], right_on=["id"], lookup=True, how="left", id="with_town"
    ).sink("collection:towns")
    local, on_ray = await on_both(port, pipeline.build())
    assert rows(local, "all") == ['{"n": 540}']
    for name in ("minutes", "sessions", "all", "towns"):
        assert rows(on_ray, name) == rows(local, name), name
