from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sage_kernel.nodes import NodeSpec
from sage_kernel.placement.tasks import partitioned_sources, plan_tasks
from sage_kernel.validation import from_dict


def nodes_of(**nodes: Any) -> dict[str, NodeSpec]:
    value = {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes}
    return dict(from_dict(value).nodes)


RECORDS = {"op": "source", "records": [{"text": "a"}]}
OUT = {"op": "sink", "uri": "collection:out"}


def test_a_stateless_chain_is_partitioned() -> None:
    nodes = nodes_of(source=RECORDS, chunk={"op": "chunk", "in": ["source"]}, out={**OUT, "in": ["chunk"]})
    assert partitioned_sources(nodes) == ({"source"}, "")


def test_what_is_indexed_is_read_whole_by_every_task() -> None:
    nodes = nodes_of(
        documents=RECORDS, questions=RECORDS,
        vectors={"op": "embed", "in": ["documents"], "text": "{text}", "into": "vec"},
        kb={"op": "index", "in": ["vectors"], "vector": "vec"},
        asked={"op": "embed", "in": ["questions"], "text": "{text}", "into": "vec"},
        found={"op": "retrieve", "in": ["asked"], "index": "kb", "by": "vec", "into": "context"},
        out={**OUT, "in": ["found"]},
    )  # fmt: skip
    assert partitioned_sources(nodes) == ({"questions"}, "")


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 20))
def test_every_split_is_in_exactly_one_task(first: int, second: int, most: int) -> None:
    nodes = nodes_of(a=RECORDS, b=RECORDS, out={**OUT, "in": ["a", "b"]})
    splits = {"a": [f"a{n}" for n in range(first)], "b": [f"b{n}" for n in range(second)]}
    plan = plan_tasks(nodes, splits, most)
    assert [task.number for task in plan.tasks] == list(range(min(most, first + second)))
    for source, parts in splits.items():
        assert [split for task in plan.tasks for split in task.splits[source]] == parts
    sizes = [sum(map(len, task.splits.values())) for task in plan.tasks]
    assert max(sizes) - min(sizes) <= 1


def test_parallelism_bounds_the_tasks() -> None:
    nodes = nodes_of(a={**RECORDS, "parallelism": 2}, out={**OUT, "in": ["a"]})
    plan = plan_tasks(nodes, {"a": list(range(9))}, 100)
    assert len(plan.tasks) == 2
    assert plan.reason == "2 tasks over 9 splits, bounded by parallelism"
