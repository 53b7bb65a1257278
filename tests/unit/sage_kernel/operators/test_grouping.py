from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest

from sage_common.errors import PermissionDeniedError
from sage_kernel.functions import allow
from sage_kernel.problems import NodeFailedError, PipelineInvalidError
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.runtime.progress import RunResult
from sage_kernel.validation import from_dict, from_yaml

START_US = 1_767_225_600_000_000
SCHEMA = {"ts": "timestamp", "k": "string", "x": "int"}
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def larger(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Reduce to the record with the larger x."""
    return left if (left["x"], left["ts"]) >= (right["x"], right["ts"]) else right


def broken(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Reduce to a record of another type."""
    return {**left, "x": "many"}


def events(*rows: tuple[float, str | None, int | None], **source: Any) -> dict[str, Any]:
    records = [{"ts": START_US + round(at * 1e6), "k": key, "x": value} for at, key, value in rows]
    return {"op": "source", "records": records, "schema": SCHEMA, "event_time": "ts", "epoch": "us", **source}


def pipeline(**nodes: Any) -> dict[str, Any]:
    return {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes}


def sink(behind: str, name: str = "out") -> dict[str, Any]:
    return {"op": "sink", "in": behind, "uri": f"collection:{name}"}


async def run(models: Any, **nodes: Any) -> RunResult:
    spec = from_dict(pipeline(**nodes))
    assert from_yaml(spec.to_yaml()) == spec
    runner = LocalRunner(models, functions=allow([f"{__name__}:*"]))
    return await asyncio.wait_for(runner.run(spec), 20)


def seconds(time: datetime.datetime) -> float:
    return (time - EPOCH).total_seconds() - START_US / 1e6


async def test_counts_by_key_and_minute_and_then_by_two_minutes(models: Any) -> None:
    result = await run(
        models,
        events=events((1, "a", 1), (2, None, 2), (61, "a", 3), (62, "", 4), (121, "a", 5)),
        keyed={"op": "key_by", "in": "events", "fields": ["k"]},
        minutes={"op": "window", "in": "keyed", "tumbling": "1m"},
        counts={"op": "aggregate", "in": "minutes", "aggs": {"n": "count()", "total": "sum(x)"}},
        out=sink("counts"),
        longer={"op": "window", "in": "counts", "tumbling": "2m"},
        totals={"op": "aggregate", "in": "longer", "aggs": {"total": "sum(total)", "rows": "count()"}},
        both=sink("totals", "both"),
    )
    counts = [(r["k"], seconds(r["window"]["start"]), r["n"], r["total"]) for r in result.collections["out"]]
    assert sorted(counts, key=repr) == sorted(
        [("a", 0, 1, 1), (None, 0, 1, 2), ("a", 60, 1, 3), ("", 60, 1, 4), ("a", 120, 1, 5)], key=repr
    )
    both = [(seconds(r["window"]["end"]), r["total"], r["rows"]) for r in result.collections["both"]]
    assert both == [(120, 10, 4), (240, 5, 1)]


async def test_late_records_leave_by_their_output_or_are_counted(models: Any) -> None:
    # A batch of the source holds 256 records: the late one comes in the second.
    rows = [(60 + n / 100, "a", 1) for n in range(256)] + [(1.0, "late", 2), (62.6, "a", 1)]
    nodes = {
        "events": events(*rows),
        "minutes": {"op": "window", "in": "events", "tumbling": "1m"},
        "counts": {"op": "aggregate", "in": "minutes", "aggs": {"n": "count()"}},
        "out": sink("counts"),
    }
    counted = await run(models, **nodes)
    assert counted.counts["counts"].records_late == 1
    taken = await run(models, **nodes, late=sink("counts.late", "late"))
    assert [record["k"] for record in taken.collections["late"]] == ["late"]
    assert [record["n"] for record in taken.collections["out"]] == [257]
    patient = await run(models, **{**nodes, "minutes": {**nodes["minutes"], "lateness": "5s"}})
    assert [record["n"] for record in patient.collections["out"]] == [1, 257]


async def test_a_function_reduces_the_records_of_each_key(models: Any) -> None:
    nodes = {
        "events": events((1, "a", 1), (2, "b", 9), (3, "a", 7), (70, "a", 2)),
        "keyed": {"op": "key_by", "in": "events", "fields": ["k"]},
        "minutes": {"op": "window", "in": "keyed", "tumbling": "1m"},
        "most": {"op": "reduce", "in": "minutes", "ref": f"{__name__}:larger"},
        "out": sink("most"),
    }
    result = await run(models, **nodes)
    assert sorted((r["k"], r["x"], seconds(r["ts"])) for r in result.collections["out"]) == [
        ("a", 2, 70), ("a", 7, 3), ("b", 9, 2),
    ]  # fmt: skip
    with pytest.raises(NodeFailedError, match="record of another type"):
        await run(models, **{**nodes, "most": {**nodes["most"], "ref": f"{__name__}:broken"}})
    with pytest.raises((NodeFailedError, PipelineInvalidError, PermissionDeniedError), match="not allowed"):
        await run(models, **{**nodes, "most": {**nodes["most"], "ref": "os:system"}})


async def test_without_a_window_the_results_come_at_the_end(models: Any) -> None:
    result = await run(
        models,
        events=events((1, "a", 1), (2, "b", 2)),
        all={"op": "aggregate", "in": "events", "aggs": {"n": "count()", "last": "last(k)"}},
        out=sink("all"),
    )
    assert result.collections["out"] == [{"n": 2, "last": "b"}]


WINDOW = {"op": "window", "in": "events", "tumbling": "1m"}
COUNT = {"op": "aggregate", "in": "windows", "aggs": {"n": "count()"}}


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ({"windows": {"op": "window", "in": "events"}}, "exactly one of"),
        ({"windows": {**WINDOW, "session": "1s"}}, "exactly one of"),
        ({"windows": {"op": "window", "in": "events", "session": "1s", "offset": "1s"}}, "no 'offset'"),
        ({"windows": {"op": "window", "in": "events", "sliding": ["1m", "2m"]}}, "at most their length"),
        ({"windows": {"op": "window", "in": "events", "sliding": ["1d", "1s"]}}, "more than 1440 windows"),
        ({"windows": {**WINDOW, "tumbling": "0s"}}, "greater than 0"),
        ({"events": {"op": "source", "records": [{"x": 1}]}}, "no event time"),
        ({"counts": {**COUNT, "aggs": {"n": "median(x)"}}}, "no aggregate; known: count"),
        ({"counts": {**COUNT, "aggs": {"n": "sum(y)"}}}, "'y'"),
        ({"counts": {**COUNT, "aggs": {"n": "sum(k)"}}}, "aggs.n"),
        ({"counts": {**COUNT, "aggs": {"window": "count()"}}}, "choose another name"),
        ({"counts": {**COUNT, "aggs": {"n": "sum(SUM(x))"}}}, "aggregates over records"),
        ({"counts": {"op": "reduce", "in": "windows", "ref": "x y"}}, "package.module:name"),
    ],
)
def test_what_cannot_be_grouped_is_refused_before_it_runs(nodes: dict[str, Any], words: str) -> None:
    whole = {"events": events((1, "a", 1)), "windows": WINDOW, "counts": COUNT, "out": sink("counts")}
    with pytest.raises(PipelineInvalidError) as caught:
        from_dict(pipeline(**{**whole, **nodes}))
    assert words in str(caught.value)
