from __future__ import annotations

from typing import Any

import pytest

from sage_kernel.nodes import NodeSpec
from sage_kernel.placement.stages import cut_of, merge_graph, parts_of, split_graph
from sage_kernel.type_inference import infer_types
from sage_kernel.validation import from_dict


def nodes_of(**nodes: Any) -> dict[str, NodeSpec]:
    value = {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes}
    return dict(from_dict(value).nodes)


RECORDS = {"op": "source", "records": [{"text": "a", "n": 1}]}
COUNT = {"op": "aggregate", "aggs": {"n": "count()"}}
OUT = {"op": "sink", "uri": "collection:out"}


def test_a_grouping_is_cut_and_what_is_behind_it_is_merged() -> None:
    nodes = nodes_of(
        source=RECORDS,
        keyed={"op": "key_by", "in": ["source"], "fields": ["text"]},
        counts={**COUNT, "in": ["keyed"]},
        twice={**COUNT, "in": ["counts"]},
        out={**OUT, "in": ["twice"]},
        raw={**OUT, "in": ["source"], "uri": "collection:raw"},
    )
    cut = cut_of(nodes)
    assert (cut.sources, cut.nodes) == ({"source"}, {"counts"})
    assert set(split_graph(nodes, cut.nodes)) == {"source", "keyed", "counts", "raw"}
    merged = merge_graph(nodes, cut.nodes, infer_types(nodes)[0])
    assert set(merged) == {parts_of("counts"), "counts", "twice", "out"}
    types, found = infer_types(merged)
    assert not any(node.found for node in found.values())
    whole, _ = infer_types(nodes)
    assert all(types[producer] == whole[producer] for producer in types if producer.node in nodes)


@pytest.mark.parametrize(("uri", "is_cut"), [
    ("jsonl:/tmp/x.jsonl", True), ("parquet:/tmp/x/", True), ("csv:/tmp/x.csv", True),
    ("folder:/tmp/x", False), ("collection:x", False), ("print:", False),
])  # fmt: skip
def test_one_file_has_one_writer(uri: str, is_cut: bool) -> None:
    nodes = nodes_of(source=RECORDS, out={"op": "sink", "in": ["source"], "uri": uri, "id": "{n}"})
    assert cut_of(nodes).nodes == ({"out"} if is_cut else set())
    assert cut_of(nodes).sources == {"source"}


def test_what_is_looked_up_behind_a_cut_is_read_whole_by_the_merging_task() -> None:
    nodes = nodes_of(
        source=RECORDS, table={"op": "source", "records": [{"text": "a", "name": "A"}]},
        keyed={"op": "key_by", "in": ["source"], "fields": ["text"]},
        counts={**COUNT, "in": ["keyed"]},
        named={"op": "join", "in": ["counts", "table"], "on": ["text"], "lookup": True},
        out={**OUT, "in": ["named"]},
    )  # fmt: skip
    cut = cut_of(nodes)
    assert (cut.sources, cut.nodes) == ({"source"}, {"counts"})
    assert set(split_graph(nodes, cut.nodes)) == {"source", "keyed", "counts"}
    assert "table" in merge_graph(nodes, cut.nodes, infer_types(nodes)[0])


def test_what_brings_together_groups_and_single_records_is_one_task() -> None:
    nodes = nodes_of(
        source=RECORDS, counts={**COUNT, "in": ["source"]}, out={**OUT, "in": ["counts", "source"]},
    )  # fmt: skip
    assert cut_of(nodes).reason == "'out' (sink) brings together what is grouped and what is not"


def test_a_grouping_whose_late_records_are_wanted_is_one_task() -> None:
    nodes = nodes_of(
        source={**RECORDS, "records": [{"at": "2024-01-01T00:00:00Z"}], "schema": {"at": "timestamp"},
                "event_time": "at"},
        minutes={"op": "window", "in": ["source"], "tumbling": "1m"},
        counts={**COUNT, "in": ["minutes"]}, out={**OUT, "in": ["counts"]},
        late={**OUT, "in": ["counts.late"], "uri": "collection:late"},
    )  # fmt: skip
    assert cut_of(nodes).reason == "'counts' (aggregate) needs all records in one place"


def test_a_source_without_end_is_not_shared_out_where_its_records_are_grouped() -> None:
    nodes = nodes_of(
        source={"op": "source", "uri": "nats://sales", "schema": {"at": "timestamp"}, "event_time": "at"},
        minutes={"op": "window", "in": ["source"], "tumbling": "1m"},
        counts={**COUNT, "in": ["minutes"]}, out={**OUT, "in": ["counts"]},
    )  # fmt: skip
    cut = cut_of(nodes)
    assert cut.reason == "the source 'source' never ends, and 'counts' needs all records in one place"
    assert not cut.sources
