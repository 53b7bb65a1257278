from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sage_kernel.problems import PipelineInvalidError
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.validation import from_dict, from_yaml

START_US = 1_767_225_600_000_000


def stream(*rows: tuple[float, Any, int], key: str = "string") -> dict[str, Any]:
    schema = {"ts": "timestamp", "k": key, "x": "int"}
    records = [{"ts": START_US + round(at * 1e6), "k": k, "x": x} for at, k, x in rows]
    return {"op": "source", "records": records, "schema": schema, "event_time": "ts", "epoch": "us"}


def pipeline(left: dict[str, Any], right: dict[str, Any], **join: Any) -> dict[str, Any]:
    nodes = {
        "left": left,
        "right": right,
        "pairs": {"op": "join", "in": ["left", "right"], **join},
        "out": {"op": "sink", "in": "pairs", "uri": "collection:out"},
    }
    return {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes}


async def joined(models: Any, left: dict[str, Any], right: dict[str, Any], **join: Any) -> list[dict[str, Any]]:
    spec = from_dict(pipeline(left, right, **join))
    assert from_yaml(spec.to_yaml()) == spec
    return (await asyncio.wait_for(LocalRunner(models).run(spec), 20)).collections["out"]


async def test_pairs_are_near_in_time_and_have_the_fields_of_both(models: Any) -> None:
    left, right = stream((10, "a", 1), (20, "a", 2), (20, None, 3)), stream((12, "a", 4), (31, "a", 5), (20, None, 6))
    near = await joined(models, left, right, on=["k"], within="5s")
    assert [(r["k"], r["x"], r["x_right"]) for r in near] == [("a", 1, 4)]
    assert list(near[0]) == ["ts", "k", "x", "ts_right", "x_right"]
    after = await joined(models, left, right, on=["k"], within=["1s", "30s"], how="left")
    assert sorted(((r["x"], r["x_right"]) for r in after), key=repr) == [(1, 4), (1, 5), (2, 5), (3, None)]
    exact = await joined(models, left, right, left_on=["x"], right_on=["x"], within=["-1m", "1m"])
    assert exact == []


async def test_a_table_is_read_before_the_stream(models: Any) -> None:
    table = {"op": "source", "records": [{"id": "a", "name": "A"}, {"id": "a", "name": "AA"}]}
    rows = await joined(
        models, stream((1, "a", 1), (2, "b", 2)), table, left_on=["k"], right_on=["id"], lookup=True, how="left"
    )
    assert sorted(((r["k"], r["id"], r["name"]) for r in rows), key=repr) == [
        ("a", "a", "A"), ("a", "a", "AA"), ("b", None, None),
    ]  # fmt: skip


async def test_whole_numbers_and_floats_are_compared_as_numbers(models: Any) -> None:
    rows = await joined(models, stream((1, 2, 1), key="int"), stream((1, 2.0, 7), key="float"), on=["k"], within="1s")
    assert [(r["k"], r["x_right"]) for r in rows] == [(2, 7)]


@pytest.mark.parametrize(
    ("join", "words"),
    [
        ({"on": ["k"]}, "either 'within: 10m'"),
        ({"on": ["k"], "within": "1m", "lookup": True}, "either 'within: 10m'"),
        ({"within": "1m"}, "either 'on' or both"),
        ({"on": ["k"], "left_on": ["k"], "right_on": ["k"], "within": "1m"}, "either 'on' or both"),
        ({"left_on": ["k", "x"], "right_on": ["k"], "within": "1m"}, "as many fields"),
        ({"on": ["k"], "within": ["1m", "0s"]}, "ends before it begins"),
        ({"on": ["kk"], "within": "1m"}, "'kk'"),
        ({"left_on": ["k"], "right_on": ["x"], "within": "1m"}, "one type"),
    ],
)
def test_what_cannot_be_joined_is_refused_before_it_runs(join: dict[str, Any], words: str) -> None:
    with pytest.raises(PipelineInvalidError) as caught:
        from_dict(pipeline(stream((1, "a", 1)), stream((1, "a", 1)), **join))
    assert words in str(caught.value)
