"""Records that are brought together: a part from each task over splits, and one task that merges them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from sage_common.errors import ConflictError
from sage_kernel.builder import Pipeline
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.validation import from_yaml

FILES, ROWS = 5, 3000
MINUTE_US = 60_000_000


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    folder = tmp_path / "sales"
    folder.mkdir()
    for number in range(FILES):
        first = number * ROWS
        frame = pl.DataFrame({"n": range(first, first + ROWS)}).with_columns(
            shop=pl.lit("shop ") + (pl.col("n") % 7).cast(pl.String),
            price=(pl.col("n") * 31 % 101).cast(pl.Float64),
            ts=pl.from_epoch(pl.col("n") * 250_000, time_unit="us").dt.replace_time_zone("UTC"),
        )
        frame.write_parquet(folder / f"{number}.parquet")
    return folder


def by_shop_and_minute(sales: Path, results: str, lines: str) -> str:
    """Return a pipeline with a grouping, what is behind it, and a file of single records beside."""
    schema = {"n": "int", "shop": "string", "price": "float", "ts": "timestamp"}
    value = {
        "apiVersion": "sage/v1",
        "kind": "Pipeline",
        "metadata": {"name": "sales"},
        "nodes": {
            "sales": {"op": "source", "uri": f"parquet:{sales}/*.parquet", "schema": schema, "event_time": "ts"},
            "dear": {"op": "filter", "in": ["sales"], "where": "price > 20"},
            "keyed": {"op": "key_by", "in": ["dear"], "fields": ["shop"]},
            "minutes": {"op": "window", "in": ["keyed"], "tumbling": "1m"},
            "sums": {"op": "aggregate", "in": ["minutes"], "aggs": {"n": "count()", "total": "sum(price)"}},
            "large": {"op": "filter", "in": ["sums"], "where": "n > 10"},
            "out": {"op": "sink", "in": ["large"], "uri": results},
            "lines": {"op": "sink", "in": ["dear"], "uri": lines, "fields": ["n", "price"]},
            "all": {"op": "sink", "in": ["dear"], "uri": "collection:all", "fields": ["n"]},
        },
    }
    return json.dumps(value)


def expected(sales: Path) -> list[tuple[Any, ...]]:
    query = f"""
        SELECT shop, epoch_us(time_bucket(INTERVAL 1 MINUTE, ts)) // 1, count(*) AS n, sum(price)
        FROM read_parquet('{sales}/*.parquet') WHERE price > 20 GROUP BY ALL HAVING n > 10 ORDER BY ALL
    """
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        return database.execute(query).fetchall()


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    frame = pl.read_parquet(path)
    start = pl.col("window").struct.field("start").dt.epoch("us").alias("start")
    return sorted(frame.select("shop", start, "n", "total").rows())


async def test_a_grouping_and_a_file_are_merged_from_the_parts_of_several_workers(
    workplace: Any, sales: Path, tmp_path: Path
) -> None:
    options = {"max_tasks": 2, "allowed_roots": (tmp_path,), "placement": "spread"}
    workers = [await workplace.worker(name, **options) for name in ("a", "b")]
    mesh = by_shop_and_minute(sales, f"parquet:{tmp_path}/mesh.parquet", f"jsonl:{tmp_path}/mesh.jsonl")
    await workers[0].api.submit(mesh, "sales")
    done = await workers[0].until("sales", "SUCCEEDED")
    assert done.plan.endswith("and one that merges 'lines', 'sums'")
    local = by_shop_and_minute(sales, f"parquet:{tmp_path}/local.parquet", f"jsonl:{tmp_path}/local.jsonl")
    await LocalRunner(None).run(from_yaml(local))  # type: ignore[arg-type]
    assert rows_of(tmp_path / "mesh.parquet") == rows_of(tmp_path / "local.parquet") == expected(sales)
    # In the order of the splits, as one task writes them.
    assert (tmp_path / "mesh.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()
    lines = (tmp_path / "mesh.jsonl").read_bytes().count(b"\n")
    messages = await workers[0].results("sales")
    assert messages[-1]["collections"] == {"all": lines}
    progress = done.progress
    assert progress["sales"].records_out == progress["dear"].records_in == FILES * ROWS
    assert progress["lines"].records_in == progress["all"].records_in == progress["sums"].records_in == lines
    assert progress["out"].records_in == len(expected(sales))
    assert not unfinished(tmp_path)


async def test_a_changed_pipeline_goes_on_behind_the_parts_that_there_are(
    workplace: Any, sales: Path, tmp_path: Path
) -> None:
    worker = await workplace.worker("one", max_tasks=3, allowed_roots=(tmp_path,))
    value = json.loads(by_shop_and_minute(sales, f"parquet:{tmp_path}/mesh.parquet", f"jsonl:{tmp_path}/mesh.jsonl"))
    nodes = value["nodes"]
    nodes["large"] |= {"where": "CAST(shop AS INT) > 0"}
    await worker.api.submit(json.dumps(value), "sales")
    assert "large" in (await worker.until("sales", "FAILED")).errors[0]
    _, tasks = await worker.assembly.control.explain("sales")
    assert [task.state.value for task in tasks] == ["succeeded"] * 3 + ["failed"]
    nodes["large"]["where"] = "n > 10"
    control = worker.assembly.control
    for changes, reason in (
        ({"sums": {**nodes["sums"], "aggs": {"n": "count()"}}}, "sums.*its state belongs to other aggs"),
        # Its parts have been handed over already.
        ({"lines": {**nodes["lines"], "fields": ["n"]}}, "lines.*its state belongs to other fields"),
        ({"more": {**nodes["all"], "uri": "collection:more"}}, "more.*had given out every record"),
    ):
        other = {**value, "nodes": {**nodes, **changes}}
        with pytest.raises(ConflictError, match=f"(?s){reason}"):
            await control.resume("sales", json.dumps(other))
    nodes["dear"]["where"] = "price > 99"
    _, lines = await control.resume("sales", json.dumps(value))
    assert "task 0: dear: changed: it had ended; its new where has no effect" in lines
    assert any(line.startswith("task 3: ") for line in lines)
    await worker.until("sales", "SUCCEEDED")
    assert rows_of(tmp_path / "mesh.parquet") == expected(sales)
    _, after = await control.explain("sales")
    assert [task.epoch for task in after[:3]] == [task.epoch for task in tasks[:3]]


def unfinished(folder: Path) -> list[Path]:
    """Return what is left beside the files that were asked for."""
    return [path for path in folder.rglob(".*") if path.name.startswith(".mesh")]


async def test_files_without_records_are_a_file_without_records(workplace: Any, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        pl.DataFrame({"n": []}, schema={"n": pl.Int64}).write_parquet(folder / f"{number}.parquet")
    worker = await workplace.worker("one", max_tasks=3, allowed_roots=(tmp_path,))
    pipeline = Pipeline("empty")
    numbers = pipeline.source(f"parquet:{folder}/*.parquet", schema={"n": "int"})
    numbers.sink(f"csv:{tmp_path}/out.csv")
    await worker.api.submit(pipeline.to_yaml(), "empty")
    done = await worker.until("empty", "SUCCEEDED")
    assert "one that merges" in done.plan
    assert (tmp_path / "out.csv").read_text() == "n\n"
