from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sage_kernel.problems import PipelineInvalidError
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.validation import from_dict, from_yaml

SCHEMA = {"n": "int", "context": [{"kind": "string", "score": "float"}]}


def pipeline(records: list[dict[str, Any]], **vote: Any) -> dict[str, Any]:
    nodes = {
        "asked": {"op": "source", "records": records, "schema": SCHEMA},
        "voted": {"op": "vote", "in": "asked", "label": "kind", **vote},
        "out": {"op": "sink", "in": "voted", "uri": "collection:out"},
    }
    return {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes}


def voters(*votes: tuple[str | None, float | None]) -> list[dict[str, Any]]:
    return [{"kind": kind, "score": score} for kind, score in votes]


async def voted(models: Any, *lists: list[dict[str, Any]] | None, **vote: Any) -> list[dict[str, Any]]:
    spec = from_dict(pipeline([{"n": n, "context": one} for n, one in enumerate(lists)], **vote))
    assert from_yaml(spec.to_yaml()) == spec
    return (await asyncio.wait_for(LocalRunner(models).run(spec), 20)).collections["out"]


async def test_the_label_with_the_greatest_weight_wins(models: Any) -> None:
    (one,) = await voted(models, voters(("a", 0.5), ("b", 0.3), ("b", 0.3)), share="sure")
    assert (one["kind"], round(one["sure"], 3)) == ("b", 0.545)
    (same,) = await voted(models, voters(("a", 0.5), ("b", 0.3), ("b", 0.1)), into="label")
    assert same["label"] == "a"
    (counted,) = await voted(models, voters(("a", 0.9), ("b", 0.1), ("b", 0.1)), weight=None)
    assert counted["kind"] == "b"


async def test_of_equal_votes_the_earlier_record_counts(models: Any) -> None:
    first = await voted(models, voters(("z", 0.5), ("a", 0.5)), voters(("a", 0.5), ("z", 0.5)))
    assert [one["kind"] for one in first] == ["z", "a"]


async def test_where_nobody_votes_there_is_no_label(models: Any) -> None:
    nobody = [None, [], voters((None, 1.0)), voters(("a", -0.2), ("b", 0.0)), voters(("b", None))]
    found = await voted(models, *nobody, share="sure")
    assert [(one["kind"], one["sure"]) for one in found] == [(None, 0.0)] * len(nobody)


@pytest.mark.parametrize(
    ("vote", "words"),
    [
        ({"label": "kin"}, "no field 'kin'.*did you mean 'kind'"),
        ({"weight": "scor"}, "no field 'scor'"),
        ({"weight": "kind"}, "'kind' is 'string', not a number"),
        ({"voters": "n"}, "'n' is 'int', not a list of records"),
        ({"voters": "contexts"}, "did you mean 'context'"),
    ],
)
def test_a_vote_that_cannot_be_is_refused(vote: dict[str, Any], words: str) -> None:
    with pytest.raises(PipelineInvalidError, match=words):
        from_dict(pipeline([], **vote))
