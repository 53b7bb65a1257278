from __future__ import annotations

from typing import Any

import pytest

from sage_kernel.nodes import NodeSpec
from sage_kernel.placement.stages import cut_of, merge_graph, parts_of, split_graph
from sage_kernel.problems import PipelineInvalidError
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


PARTITIONED = {
    "op": "source", "uri": "nats://t.{partition}.>", "partitions": 4, "partition_by": ["shop"], "event_time": "ts",
    "schema": {"shop": "string", "item": "string", "ts": "timestamp"},
}  # fmt: skip


@pytest.mark.parametrize(("key", "between", "is_shared"), [
    (["shop"], {"op": "filter", "where": "item <> ''"}, True),
    (["item", "shop"], {"op": "map", "fields": {"twice": "item || item"}}, True),
    (["item"], {"op": "filter", "where": "true"}, False),
    # Another value by the same name.
    (["shop"], {"op": "map", "fields": {"shop": "LOWER(shop)"}}, False),
    (["shop"], {"op": "chunk", "text": "shop"}, False),
])  # fmt: skip
def test_a_stream_without_end_is_shared_out_where_a_key_stays_within_its_partition(
    key: list[str], between: dict[str, Any], is_shared: bool
) -> None:
    nodes = nodes_of(
        source=PARTITIONED, between={**between, "in": ["source"]},
        keyed={"op": "key_by", "in": ["between"], "fields": key},
        windows={"op": "window", "in": ["keyed"], "tumbling": "1m"},
        counts={**COUNT, "in": ["windows"]},
        again={"op": "key_by", "in": ["counts"], "fields": key},
        wider={"op": "window", "in": ["again"], "tumbling": "1h"},
        more={"op": "aggregate", "in": ["wider"], "aggs": {"n": "sum(n)"}},
        out={**OUT, "in": ["more"]},
        late={**OUT, "in": ["counts.late"], "uri": "collection:late"},
    )  # fmt: skip
    cut = cut_of(nodes)
    assert (cut.sources, cut.nodes) == ({"source"} if is_shared else set(), set())
    assert bool(cut.reason) is not is_shared


@pytest.mark.parametrize("wrong", [
    {"partitions": None}, {"uri": "nats://t.>"}, {"uri": "nats://t.{other}.>"}, {"uri": "nats://t.{partition}.{partition}"},
    {"uri": "jsonl:x.{partition}.y"}, {"partition_by": ["ts"]}, {"partition_by": ["none"]},
])  # fmt: skip
def test_partitions_are_said_whole(wrong: dict[str, Any]) -> None:
    with pytest.raises(PipelineInvalidError):
        nodes_of(source={**PARTITIONED, **wrong}, out={**OUT, "in": ["source"]})
