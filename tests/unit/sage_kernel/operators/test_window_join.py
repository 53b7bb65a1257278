from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sage_kernel.problems import PipelineInvalidError
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.validation import from_dict, from_yaml

START_US = 1_767_225_600_000_000


def stream(*rows: tuple[float, list[float] | None], vector: Any = "float32[2]") -> dict[str, Any]:
    records = [{"ts": START_US + round(at * 1e6), "k": str(len(v or "")), "vector": v} for at, v in rows]
    schema = {"ts": "timestamp", "k": "string", "vector": vector}
    return {"op": "source", "records": records, "schema": schema, "event_time": "ts", "epoch": "us"}


def pipeline(left: dict[str, Any], right: dict[str, Any], **join: Any) -> dict[str, Any]:
    nodes = {
        "left": left,
        "right": right,
        "pairs": {"op": "window_join", "in": ["left", "right"], **join},
        "out": {"op": "sink", "in": "pairs", "uri": "collection:out"},
    }
    return {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes}


async def joined(models: Any, left: dict[str, Any], right: dict[str, Any], **join: Any) -> list[dict[str, Any]]:
    spec = from_dict(pipeline(left, right, **join))
    assert from_yaml(spec.to_yaml()) == spec
    return (await asyncio.wait_for(LocalRunner(models).run(spec), 20)).collections["out"]


async def test_pairs_are_alike_and_near_in_time(models: Any) -> None:
    left = stream((10, [1, 0]), (20, [0, 1]), (30, None))
    right = stream((11, [2, 0]), (12, [1, 1]), (90, [0, 1]), (12, None))
    near = await joined(models, left, right, threshold=0.7, within="10s")
    assert sorted((r["similarity"], r["vector"], r["vector_right"]) for r in near) == [
        (0.707107, [0.0, 1.0], [1.0, 1.0]), (0.707107, [1.0, 0.0], [1.0, 1.0]), (1.0, [1.0, 0.0], [2.0, 0.0]),
    ]  # fmt: skip
    assert list(near[0]) == ["ts", "k", "vector", "ts_right", "k_right", "vector_right", "similarity"]
    keyed = await joined(models, left, right, threshold=0.7, within="10s", on=["k"], into="cosine", k=1)
    assert sorted((r["cosine"], r["vector"]) for r in keyed) == [(0.707107, [0.0, 1.0]), (1.0, [1.0, 0.0])]
    assert list(keyed[0]) == ["ts", "k", "vector", "ts_right", "vector_right", "cosine"]


async def test_a_vector_that_does_not_fit_is_an_error_of_its_record(models: Any) -> None:
    left = stream((10, [1, 0]), vector=["float"])
    right = stream((10, [1, 0]), (11, [1, 0, 0]), (12, [2, 0]), vector=["float"])
    spec = from_dict(pipeline(left, right, threshold=0.9, within="10s", on_error="skip"))
    result = await asyncio.wait_for(LocalRunner(models).run(spec), 20)
    assert sorted(r["vector_right"] for r in result.collections["out"]) == [[1.0, 0.0], [2.0, 0.0]]


@pytest.mark.parametrize(
    ("join", "words"),
    [
        ({"threshold": 0.8}, "needs 'within: 10m'"),
        ({"within": "1m"}, "threshold"),
        ({"threshold": 1.5, "within": "1m"}, "threshold"),
        ({"threshold": 0.8, "within": ["1m", "1s"]}, "ends before it begins"),
        ({"threshold": 0.8, "within": "1m", "k": 0}, "greater than or equal to 1"),
        ({"threshold": 0.8, "within": "1m", "on": ["k"], "left_on": ["k"], "right_on": ["k"]}, "either 'on' or both"),
        ({"threshold": 0.8, "within": "1m", "by": "vectr"}, "did you mean 'vector'"),
        ({"threshold": 0.8, "within": "1m", "right_by": "k"}, "'k' is 'string', not a vector"),
        ({"threshold": 0.8, "within": "1m", "into": "k"}, "have a field 'k' already"),
        ({"threshold": 0.8, "within": "1m", "in": ["left"]}, "takes two inputs"),
    ],
)
def test_a_join_that_cannot_be_is_refused(join: dict[str, Any], words: str) -> None:
    with pytest.raises(PipelineInvalidError, match=words):
        from_dict(pipeline(stream((1, [1, 0])), stream((1, [1, 0])), **join))


def test_vectors_of_two_models_and_records_without_time_are_refused() -> None:
    other = stream((1, [1, 0, 0]), vector="float32[3]")
    with pytest.raises(PipelineInvalidError, match="2 numbers on the left and 3 on the right"):
        from_dict(pipeline(stream((1, [1, 0])), other, threshold=0.8, within="1m"))
    timeless = {"op": "source", "records": [{"vector": [1.0]}], "schema": {"vector": ["float"]}}
    with pytest.raises(PipelineInvalidError, match="right input have no event time"):
        from_dict(pipeline(stream((1, [1, 0])), timeless, threshold=0.8, within="1m"))


def test_what_comes_late_has_the_type_of_its_input() -> None:
    spec = pipeline(stream((1, [1, 0])), stream((1, [1, 0])), threshold=0.8, within="1m")
    spec["nodes"]["lost"] = {"op": "sink", "in": ["pairs.late_left", "pairs.late_right"], "uri": "collection:lost"}
    assert from_dict(spec).nodes["lost"].inputs == ("pairs.late_left", "pairs.late_right")
