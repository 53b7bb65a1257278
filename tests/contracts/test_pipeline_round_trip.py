"""``from_yaml(to_yaml(p)) == p``, over every operator and every parameter that it has."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sage_kernel.operators.registry import OPERATORS
from sage_kernel.pipeline_text import read_text
from sage_kernel.spec import PipelineSpec

DURATIONS = st.one_of(
    st.integers(1, 3600), st.sampled_from(["1us", "500ms", "30s", "1.5s", "1m", "2h", "7d", "1w"]), st.just("90m")
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
TYPES = st.recursive(
    st.sampled_from(
        ["string", "int", "float", "float32", "bool", "timestamp", "date", "duration", "bytes", "float[3]"]
    ),
    lambda inner: st.lists(inner, min_size=1, max_size=1) | st.dictionaries(NAMES, inner, min_size=1, max_size=3),
    max_leaves=5,
)
SCHEMAS = st.dictionaries(NAMES, TYPES, min_size=1, max_size=4)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SQL = st.sampled_from(["n + 1", "LENGTH(text) > 20", "a.b = 'x''y'", "CASE WHEN n > 1 THEN 'a' ELSE \"select\" END"])
REFS = st.sampled_from(["shop.rules:price", "a:b"])
TEMPLATES = st.sampled_from(["{text}", "{a.b}: {{x}}\n{c}", "plain", "'{a}' # \u2028 {b}"])
AGGREGATES = st.sampled_from(["count()", "sum(n * 2)", "max_by(a, b)"])
COMMON = {
    "on_error": st.sampled_from(["fail", "skip", "dlq", "output"]),
    "retries": st.integers(0, 20),
    "concurrency": st.integers(1, 1024),
    "ordered": st.booleans(),
    "parallelism": st.integers(1, 9) | st.none(),
    "num_cpus": st.floats(0, 8),
    "num_gpus": st.sampled_from([0, 0.5, 1]),
    "memory_mb": st.integers(0, 1 << 20),
    "labels": st.dictionaries(TEXTS, TEXTS, max_size=2),
}


def _node(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional={**COMMON, **optional})


def _op(name: str, **required: Any) -> dict[str, Any]:
    inputs = {} if name == "source" else {"in": st.lists(NAMES, min_size=1, max_size=2, unique=True)}
    return {"op": st.just(name), **inputs, **required}


NODES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "source": _node(
        _op("source", records=st.lists(st.dictionaries(NAMES, st.none() | st.integers() | TEXTS), max_size=3)),
        schema=SCHEMAS, event_time=NAMES, lateness=DURATIONS, idle_after=DURATIONS, max_ahead=DURATIONS,
    ),
    "map": _node(_op("map", fields=st.dictionaries(NAMES, SQL, min_size=1, max_size=3)), keep=st.booleans(),
                 drop=st.lists(NAMES, max_size=2))
    | _node(_op("map", ref=REFS, out=SCHEMAS), keep=st.booleans(), batch=st.booleans()),
    "filter": _node(_op("filter", where=SQL)) | _node(_op("filter", ref=REFS)),
    "flat_map": _node(_op("flat_map", explode=NAMES)) | _node(_op("flat_map", ref=REFS, out=SCHEMAS)),
    "key_by": _node(_op("key_by", fields=st.lists(NAMES, min_size=1, max_size=3))),
    "union": _node(_op("union")),
    "join": _node(_op("join", on=st.lists(NAMES, min_size=1, max_size=2, unique=True), within=DURATIONS))
    | _node(_op("join", on=st.lists(NAMES, min_size=1, max_size=2, unique=True), lookup=st.just(True))),
    "window_join": _node(
        _op("window_join", within=DURATIONS, threshold=st.sampled_from([0.8, -1.0, 1.0])),
        on=st.lists(NAMES, max_size=2, unique=True), right_by=NAMES, k=st.integers(1, 20),
    ),
    "cluster": _node(
        _op("cluster", within=DURATIONS, threshold=st.sampled_from([0.3, -1.0, 1.0])),
        by=NAMES, into=NAMES, max_clusters=st.integers(1, 99),
    ),
    "vote": _node(_op("vote", label=NAMES), voters=NAMES, weight=NAMES, into=NAMES, share=NAMES),
    "window": _node(_op("window", tumbling=DURATIONS), offset=DURATIONS, lateness=DURATIONS)
    | _node(_op("window", sliding=st.sampled_from([["10m", "1m"], ["1h", 60]])), offset=DURATIONS)
    | _node(_op("window", session=DURATIONS), lateness=DURATIONS),
    "aggregate": _node(
        _op("aggregate", aggs=st.dictionaries(NAMES, AGGREGATES, min_size=1))
    ),
    "reduce": _node(_op("reduce", ref=REFS)),
    "chunk": _node(_op("chunk"), text=NAMES, max_characters=st.integers(200, 900),
                   overlap_characters=st.integers(0, 99)),
    "embed": _node(_op("embed"), text=TEMPLATES, into=NAMES, model=TEXTS, cache=NAMES,
                   batch=st.integers(1, 99) | st.tuples(st.integers(1, 99), DURATIONS).map(list), slo=DURATIONS),
    "index": _node(_op("index"), vector=NAMES, text=NAMES),
    "retrieve": _node(_op("retrieve", index=NAMES), by=NAMES, k=st.integers(1, 9), into=NAMES,
                      min_score=st.floats(-1, 1)),
    "rerank": _node(_op("rerank", query=TEMPLATES), passages=NAMES, k=st.integers(1, 9), into=NAMES, model=TEXTS),
    "llm": _node(_op("llm", prompt=TEMPLATES), system=TEMPLATES, out=SCHEMAS, model=TEXTS, temperature=st.floats(0, 2),
                 max_tokens=st.integers(1, 999), slo=DURATIONS, cache=DURATIONS, reasks=st.integers(0, 10)),
    "sink": _node(_op("sink", uri=st.sampled_from(["collection:x", "jsonl:a b.jsonl", "print:"])), id=TEMPLATES,
                  fields=st.lists(NAMES, max_size=3)),
}  # fmt: skip


def test_every_operator_is_tried() -> None:
    assert set(NODES) == set(OPERATORS)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    st.dictionaries(NAMES, st.one_of(*NODES.values()), min_size=1, max_size=5),
    st.fixed_dictionaries({}, optional={"deadline": DURATIONS, "checkpoint_interval": st.integers(1, 60)}),
)
def test_a_pipeline_reads_back_from_its_yaml_and_its_json(nodes: dict[str, Any], settings_of: dict[str, Any]) -> None:
    head = {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "settings": settings_of}
    spec = PipelineSpec.model_validate({**head, "nodes": nodes})
    from_yaml = PipelineSpec.model_validate(read_text(spec.to_yaml()))
    assert from_yaml == spec
    assert from_yaml.spec_hash == spec.spec_hash
    assert PipelineSpec.model_validate(json.loads(spec.canonical_json())) == spec
    assert from_yaml.to_yaml() == spec.to_yaml()
