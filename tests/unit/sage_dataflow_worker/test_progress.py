"""Progress by node over the tasks of a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sage_dataflow_worker.job import NodeProgress
from sage_dataflow_worker.job_task import JobTask, TaskState, summed_progress
from sage_dataflow_worker.source_splits import record_counts, source_parts
from sage_kernel.file_access import FileAccess
from sage_kernel.functions import NO_FUNCTIONS
from sage_kernel.host_access import NO_HOST
from sage_kernel.nats_access import NoNats
from sage_kernel.validation import from_dict


def task(number: int, state: TaskState, counts: NodeProgress) -> JobTask:
    return JobTask("job", number, state=state, progress={"a": counts})


def test_counts_are_summed_and_the_earliest_watermark_of_what_still_runs_holds() -> None:
    tasks = [
        task(0, TaskState.RUNNING, NodeProgress(1, 2, 3, watermark_unix_ms=500)),
        task(1, TaskState.RUNNING, NodeProgress(10, 20, 30, watermark_unix_ms=400)),
        task(2, TaskState.RUNNING, NodeProgress(100, 200, 300)),
        task(3, TaskState.SUCCEEDED, NodeProgress(0, 0, 0, watermark_unix_ms=100)),
    ]
    assert summed_progress(tasks) == {"a": NodeProgress(111, 222, 333, watermark_unix_ms=400)}
    assert summed_progress(tasks[2:]) == {"a": NodeProgress(100, 200, 300)}


@pytest.mark.parametrize("is_one_task", [False, True])
async def test_sources_say_how_many_records_they_have_where_that_is_cheap(tmp_path: Path, is_one_task: bool) -> None:
    for number in range(3):
        pl.DataFrame({"n": range(number + 1)}).write_parquet(tmp_path / f"{number}.parquet")
    (tmp_path / "lines.jsonl").write_text('{"n": 1}\n\n\n{"n": 2}\n\n{"n": 3}')
    nodes: dict[str, dict[str, Any]] = {
        "files": {"op": "source", "uri": f"parquet:{tmp_path}/*.parquet", "schema": {"n": "int"}},
        "lines": {"op": "source", "uri": f"jsonl:{tmp_path}/lines.jsonl", "schema": {"n": "int"}},
        "here": {"op": "source", "records": [{"n": 1}, {"n": 2}]},
        "gone": {"op": "source", "uri": f"parquet:{tmp_path}/gone/*.parquet", "schema": {"n": "int"}},
        "all": {"op": "union", "in": ["files", "lines", "here", *(["gone"] if is_one_task else [])]},
        "out": {"op": "sink", "in": ["all"], "uri": "collection:out"},
    }
    if is_one_task:
        # Two streams meet in one place.
        timed = {"op": "source", "uri": "nats://a", "schema": {"n": "int", "t": "timestamp"}, "event_time": "t"}
        nodes |= {"left": timed, "right": timed}
        nodes["pairs"] = {"op": "join", "in": ["left", "right"], "on": ["n"], "within": "1s"}
        nodes["some"] = {"op": "map", "in": ["pairs"], "fields": {"n": "n"}, "keep": False}
        nodes["all"]["in"].append("some")
    else:
        del nodes["gone"]
    spec = from_dict({"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes})
    parts = await source_parts(spec, None, FileAccess((tmp_path,)), NO_HOST, NO_FUNCTIONS, NoNats())  # type: ignore[arg-type]
    assert bool(parts.splits) is not is_one_task
    assert await record_counts(parts.counted) == {"files": 6, "lines": 3, "here": 2}
