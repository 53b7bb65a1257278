from __future__ import annotations

import asyncio
from typing import Any

import polars as pl
import pytest

from sage_common.errors import UnprocessableError
from sage_kernel.event_time.leader_clusters import LeaderClusters
from sage_kernel.problems import PipelineInvalidError
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.validation import from_dict, from_yaml

START_US = 1_767_225_600_000_000
EAST, NORTH, NORTH_EAST = [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]


def pipeline(*rows: tuple[float, list[float] | None], vector: Any = "float32[2]", **cluster: Any) -> dict[str, Any]:
    records = [{"ts": START_US + round(at * 1e6), "n": n, "vector": v} for n, (at, v) in enumerate(rows)]
    schema = {"ts": "timestamp", "n": "int", "vector": vector}
    source = {"op": "source", "records": records, "schema": schema, "event_time": "ts", "epoch": "us", "lateness": "1h"}
    nodes = {
        "seen": source,
        "grouped": {"op": "cluster", "in": "seen", "threshold": 0.8, "within": "1m", **cluster},
        "out": {"op": "sink", "in": "grouped", "uri": "collection:out"},
    }
    return {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes}


async def clusters(models: Any, *rows: tuple[float, list[float] | None], **cluster: Any) -> list[tuple[int, Any]]:
    spec = from_dict(pipeline(*rows, **cluster))
    assert from_yaml(spec.to_yaml()) == spec
    result = await asyncio.wait_for(LocalRunner(models).run(spec), 20)
    return [(one["n"], one["cluster"]) for one in result.collections["out"]]


async def test_alike_records_have_one_number_in_the_order_of_event_time(models: Any) -> None:
    found = await clusters(models, (3, [2.0, 0.1]), (1, NORTH), (2, EAST), (4, None), (5, [0.1, 5.0]))
    assert found == [(1, 1), (2, 2), (0, 2), (3, None), (4, 1)]


async def test_a_cluster_is_compared_by_the_mean_of_its_members(models: Any) -> None:
    """The third is too far from the first, and near enough to the mean of the first two."""
    chain = [(1.0, EAST), (2.0, [0.8, 0.6]), (3.0, [0.45, 0.893])]
    assert [number for _, number in await clusters(models, *chain, threshold=0.7)] == [1, 1, 1]
    assert [number for _, number in await clusters(models, *chain[::2], threshold=0.7)] == [1, 2]


async def test_a_cluster_that_nothing_joined_for_long_is_joined_no_more(models: Any) -> None:
    assert [n for _, n in await clusters(models, (0, EAST), (60, EAST), (120.5, EAST))] == [1, 1, 2]


async def test_a_vector_that_does_not_fit_is_an_error_of_its_record(models: Any) -> None:
    rows = [(1.0, EAST), (2.0, [1.0, 0.0, 0.0]), (3.0, EAST)]
    assert await clusters(models, *rows, vector=["float"], on_error="skip") == [(0, 1), (2, 1)]


def operator(**options: Any) -> LeaderClusters:
    settings = {"threshold": 0.8, "within_us": 60_000_000, "max_clusters": 10, **options}
    return LeaderClusters("vector", "cluster", pl.col("at"), "at", **settings)


def frame(*rows: tuple[int, list[float]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"at": pl.Int64, "vector": pl.Array(pl.Float32, 2)}, orient="row")


def test_what_goes_on_from_a_state_gives_the_same_numbers() -> None:
    first, second = frame((1, EAST), (5, NORTH), (9, NORTH_EAST)), frame((7, NORTH), (12, [0.9, 1.0]), (13, EAST))
    whole = operator()
    whole.on_batch(first, 0)
    given = [*whole.on_watermark(6)]
    restored = operator()
    restored.restore(whole.snapshot())
    for one in (whole, restored):
        one.on_batch(second, 0)
    rest, again = [*whole.on_end()], [*restored.on_end()]
    assert [e.frame.get_column("cluster").to_list() for e in (*given, *rest)] == [[1, 2], [2, 3, 3, 1]]
    assert [e.frame.rows() for e in rest] == [e.frame.rows() for e in again]


def test_what_comes_late_leaves_by_its_own_output() -> None:
    made = operator()
    made.on_watermark(10)
    (late,) = made.on_batch(frame((9, EAST), (10, NORTH)), 0)
    assert (late.port, late.frame.rows()) == ("late", [(9, EAST)])
    (given,) = made.on_end()
    assert given.frame.get_column("at").to_list() == [10]


def test_too_many_clusters_are_said_with_what_to_do() -> None:
    made = operator(max_clusters=1)
    made.on_batch(frame((1, EAST), (2, NORTH)), 0)
    with pytest.raises(UnprocessableError, match="more than 1 clusters are open; lower 'threshold'"):
        made.on_end()


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"by": "n"}, "'n' is 'int', not a vector"),
        ({"into": "n"}, "have a field 'n' already"),
        ({"within": "0s"}, "greater than 0"),
        ({"threshold": 2}, "threshold"),
        ({"by": "vectr"}, "did you mean 'vector'"),
    ],
)
def test_clusters_that_cannot_be_are_refused(cluster: dict[str, Any], words: str) -> None:
    with pytest.raises(PipelineInvalidError, match=words):
        from_dict(pipeline((1, EAST), **cluster))


def test_records_without_time_are_refused() -> None:
    value = pipeline((1, EAST))
    del value["nodes"]["seen"]["event_time"], value["nodes"]["seen"]["lateness"]
    with pytest.raises(PipelineInvalidError, match="no event time"):
        from_dict(value)
