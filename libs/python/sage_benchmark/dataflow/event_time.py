"""Windows and joins in event time, from files, on one core."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import polars as pl

from sage_benchmark.dataflow.events import LATENESS, SCHEMA, events, write_jsonl, write_parquet
from sage_benchmark.dataflow.measurement import DataflowPlan, Figure, Spent, rate
from sage_benchmark.dataflow.timed_pipeline import counted, run

# Beside windows; sources of JSON decode for most of the time.
_JSONL_SHARE = 4
_MINUTE_US = 60_000_000


def windows(uri: str, window: dict[str, Any], **source: Any) -> dict[str, Any]:
    """Return a pipeline that counts and adds up by key and window, and then all of that."""
    return {
        "events": {"op": "source", "uri": uri, "event_time": "ts", "lateness": LATENESS, **source},
        "keyed": {"op": "key_by", "in": "events", "fields": ["k"]},
        "windows": {"op": "window", "in": "keyed", **window},
        "counts": {"op": "aggregate", "in": "windows", "aggs": {"n": "count()", "total": "sum(amount)"}},
        **counted("counts", n="sum(n)", total="sum(total)"),
    }


def tumbling(plan: DataflowPlan, folder: Path) -> list[Figure]:
    """Measure one-minute windows beside a loop over a dict."""
    frame = events(plan.events, plan.seed)
    uri = write_parquet(folder, "events", frame)
    total = int(frame["amount"].sum())
    pipeline = windows(uri, {"tumbling": "1m"})
    ours = [run(pipeline, {"n": plan.events, "total": total}) for _ in range(plan.repetitions)]
    loops = [_dict_loop(uri.removeprefix("parquet:")) for _ in range(plan.repetitions)]
    figure, loop = rate("tumbling windows", plan.events, ours, 1e6), rate("a plain dict loop", plan.events, loops)
    assert figure.by_cpu is not None
    assert loop.by_cpu is not None
    # By processor time: they do not run at the same moment, and other load is not the same for both.
    beside = Figure("tumbling windows beside the loop, by processor time", figure.by_cpu / loop.by_cpu, "×", 2.0)
    return [figure, loop, beside]


def sliding(plan: DataflowPlan, folder: Path) -> list[Figure]:
    """Measure windows of five minutes that slide by one."""
    frame = events(plan.events, plan.seed)
    pipeline = windows(write_parquet(folder, "events", frame), {"sliding": ["5m", "1m"]})
    expected = {"n": 5 * plan.events, "total": 5 * int(frame["amount"].sum())}
    return [rate("sliding windows", plan.events, [run(pipeline, expected) for _ in range(plan.repetitions)], 1e6)]


def session(plan: DataflowPlan, folder: Path) -> list[Figure]:
    """Measure sessions of seven events on average."""
    frame = events(plan.events, plan.seed)
    pipeline = windows(write_parquet(folder, "events", frame), {"session": "2s"})
    expected = {"n": plan.events, "total": int(frame["amount"].sum())}
    return [rate("session windows", plan.events, [run(pipeline, expected) for _ in range(plan.repetitions)], 0.7e6)]


def interval_join(plan: DataflowPlan, folder: Path) -> list[Figure]:
    """Measure pairs of two streams that are at most two seconds apart: one for each left record on average."""
    half = plan.events // 2
    left, right = events(half, plan.seed), events(half, plan.seed + 1)
    within_us = 2_000_000
    pipeline = {
        name: {"op": "source", "uri": write_parquet(folder, name, frame), "event_time": "ts", "lateness": LATENESS}
        for name, frame in (("left", left), ("right", right))
    }
    joined = {"op": "join", "in": ["left", "right"], "on": ["k"], "within": ["0s", "2s"]}
    expected = {"n": _pairs(left, right, within_us)}
    nodes = {**pipeline, "joined": joined, **counted("joined", n="count()")}
    return [rate("interval join", 2 * half, [run(nodes, expected) for _ in range(plan.repetitions)], 1e6)]


def tumbling_jsonl(plan: DataflowPlan, folder: Path) -> list[Figure]:
    """Measure one-minute windows over JSON lines."""
    frame = events(plan.events // _JSONL_SHARE, plan.seed)
    pipeline = windows(write_jsonl(folder, "events", frame), {"tumbling": "1m"}, schema=SCHEMA)
    expected = {"n": frame.height, "total": int(frame["amount"].sum())}
    seconds = [run(pipeline, expected) for _ in range(plan.repetitions)]
    return [rate("tumbling windows from JSON lines", frame.height, seconds, 0.6e6)]


def stateless(plan: DataflowPlan, folder: Path) -> list[Figure]:
    """Measure filter, map and a count."""
    frame = events(plan.events, plan.seed)
    nodes = {
        "events": {"op": "source", "uri": write_parquet(folder, "events", frame)},
        "large": {"op": "filter", "in": "events", "where": "amount > 10"},
        "priced": {"op": "map", "in": "large", "fields": {"price": "amount * 2"}},
        **counted("priced", n="count()", total="sum(price)"),
    }
    large = frame.filter(pl.col("amount") > 10)
    expected = {"n": large.height, "total": 2 * int(large["amount"].sum())}
    seconds = [run(nodes, expected) for _ in range(plan.repetitions)]
    return [rate("filter, map and count", plan.events, seconds, 5e6)]


def _dict_loop(path: str) -> Spent:
    """Do the work of ``tumbling`` record by record, without event time, late records or a state to go on from."""
    began, cpu = time.perf_counter(), time.process_time()
    frame = pl.read_parquet(path)
    groups: dict[tuple[int, int], list[int]] = {}
    times, keys, amounts = (frame.get_column(name).to_physical().to_list() for name in ("ts", "k", "amount"))
    for at, key, amount in zip(times, keys, amounts, strict=True):
        group = groups.get((key, at // _MINUTE_US))
        if group is None:
            groups[key, at // _MINUTE_US] = [1, amount]
        else:
            group[0] += 1
            group[1] += amount
    return Spent(time.perf_counter() - began, time.process_time() - cpu)


def _pairs(left: pl.DataFrame, right: pl.DataFrame, within_us: int) -> int:
    """Count the pairs another way: by how many right records of a key there are up to each end of the interval."""
    count = 0
    grouped = {key: frame for (key,), frame in right.sort("ts").group_by("k")}
    for (key,), frame in left.group_by("k"):
        if key in grouped:
            times = grouped[key]["ts"].to_physical()
            starts = frame["ts"].to_physical()
            count += int(times.search_sorted(starts + within_us, "right").sum())
            count -= int(times.search_sorted(starts, "left").sum())
    return count
