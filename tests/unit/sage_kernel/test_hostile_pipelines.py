"""Pipelines that somebody wrote to hold up or to break whoever reads them."""

from __future__ import annotations

import contextlib
import json
import time
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_kernel.file_access import FileAccess
from sage_kernel.functions import NO_FUNCTIONS
from sage_kernel.graph import sharing_ancestors, topological_order
from sage_kernel.pipeline_text import MAX_TEXT_BYTES
from sage_kernel.problems import MAX_PROBLEMS, PipelineInvalidError
from sage_kernel.run_target import RunTarget
from sage_kernel.spec import PipelineSpec
from sage_kernel.validation import MAX_EDGES, MAX_NODES, from_yaml

BYTES = 125_000
HEAD = "apiVersion: sage/v1\nkind: Pipeline\nmetadata: {name: p}\n"
# Of processor time: a second is what a caller is promised, of a processor that no other process slows down; what is
# quadratic takes half a minute.
SECONDS = 3.0


def _filled(head: str, line: str, tail: str = "") -> str:
    """Text of about BYTES: ``line`` is repeated, with its number in it."""
    lines = [line.replace("N", str(number)) for number in range(BYTES // len(line))]
    return head + "".join(lines) + tail


def _json(nodes: object) -> str:
    return json.dumps({"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes})


def _chain(count: int, **more: Any) -> dict[str, Any]:
    nodes: dict[str, Any] = {"n0": {"op": "source", "records": [{"text": "a"}]}}
    for number in range(1, count):
        nodes[f"n{number}"] = {"op": "chunk", "in": f"n{number - 1}", **more}
    return nodes


def _source(**record: Any) -> dict[str, Any]:
    return {"op": "source", "records": [record]}


def _sinks(count: int, **more: Any) -> dict[str, Any]:
    return {f"o{number}": {"op": "sink", "uri": f"collection:c{number}", **more} for number in range(count)}


def _fields(name: str, count: int) -> dict[str, int]:
    return {f"{name}{number}": 1 for number in range(count)}


def _behind(node: dict[str, Any], count: int = 1, **record: Any) -> dict[str, Any]:
    """A chain of the same node."""
    nodes: dict[str, Any] = {"n0": _source(text="a", n=1, **record)}
    nodes |= {f"n{number}": {"in": f"n{number - 1}", **node} for number in range(1, count + 1)}
    return {**nodes, "out": {"op": "sink", "in": f"n{count}", "uri": "collection:out"}}


_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DEEP_RECORD = json.loads("[" * 70 + "]" * 70)

HOSTILE = {
    "unknown inputs": _filled(HEAD + "nodes:\n", "  nN: {op: sink, in: mN, uri: 'collection:cN'}\n"),
    "unknown operators": _filled(HEAD + "nodes:\n", "  nN: {op: sourse}\n"),
    "unknown inputs of few nodes": _json(_sinks(150, **{"in": [f"unknown{number}" for number in range(64)]})),
    "unknown parameters": _json({"s": {"op": "source", **_fields("recordz", 9000)}}),
    "unknown keys": _filled(HEAD, "nodez_N: 1\n"),
    "unknown fields": _json(
        {"s": _source(**_fields("field", 900)), **_sinks(1, **{"in": "s", "fields": list(_fields("feild", 1000))})}
    ),
    "a record of many fields": _json({**_chain(500), "n0": _source(**_fields("field", 8000))}),
    "a cycle of all": _json({f"n{n}": {"op": "chunk", "in": f"n{(n + 1) % 999}"} for n in range(999)}),
    "a long chain": _json(_chain(990)),
    "one long name": _json({"n" * 100_000: {"op": "x" * 20_000, "in": "y" * 1000}}),
    "a long scheme": _json({"s": {"op": "source", "uri": "x" * 100_000 + ":y"}}),
    "a long path": _json({"s": {"op": "source", "uri": "folder:" + "a/" * 50_000}}),
    "a long relative path": _json({"s": {"op": "source", "uri": "folder:" + "../" * 1000 + "x"}}),
    "repeated keys at the end": '{"nodes": {' + ", ".join(f'"k{n}": 1' for n in range(10_000)) + ', "k9999": 2}}',
    "aliases": "a: &a [x, x]\n" + "".join(
        f"{after}: &{after} [*{before}, *{before}]\n" for before, after in pairwise(_LETTERS)
    ),
    "deep yaml": "nodes: " + "[" * BYTES,
    "deep json": '{"nodes": ' + "[" * BYTES + "]" * BYTES + "}",
    "deep block yaml": "\n".join(" " * n + "a:" for n in range(450)),
    "deep records": _json({"s": _source(a=_DEEP_RECORD), **_sinks(1, **{"in": "s"})}),
    "merge keys": _filled("nodes:\n", "  ? !!merge kN\n  : {a: 1}\n"),
    "sexagesimal": "nodes: " + ":".join(["1"] * 60_000),
    "a long number": "nodes: " + "9" * 4000,
    "a long hexadecimal number": "nodes: 0x" + "f" * BYTES,
    "a set": _filled("nodes: !!set\n", "  ? kN\n"),
    "a binary": "nodes: !!binary " + "A" * BYTES,
    "a python object": "nodes: !!python/object/apply:os.system [id]",
    "braces": _json({"s": _source(a=1), "l": {"op": "llm", "in": "s", "prompt": "{" * 100_001}}),
    "ten megabytes": HEAD + "nodes:\n" + "  # ten megabytes of it\n" * 450_000,
    "a subquery": _json(_behind({"op": "filter", "where": "n IN (SELECT * FROM read_csv('/etc/passwd'))"})),
    "a table function": _json(_behind({"op": "map", "fields": {"x": "read_csv('/etc/passwd')"}})),
    "a function to import": _json(_behind({"op": "map", "ref": "os:system", "out": {"x": "int"}})),
    "half a surrogate pair": '{"metadata": {"name": "\\ud800"}, "nodes": {"\\ud800": {"op": "\\udfff"}}}',
    "half a surrogate pair in yaml": 'nodes: {"\\ud800": 1}',
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pipeline_is_refused_with_a_clear_error_and_at_once(name: str) -> None:
    began = time.thread_time()
    with pytest.raises(PipelineInvalidError) as refusal:
        from_yaml(HOSTILE[name], FileAccess(()), RunTarget("mesh", NO_FUNCTIONS, ["minilm"]))
    seconds = time.thread_time() - began
    assert seconds < SECONDS
    text = str(refusal.value)
    assert len(text.encode()) < 150_000
    assert 1 <= len(refusal.value.problems) <= MAX_PROBLEMS + 1


_WIDE = _fields("f", 985)
# Pipelines that may be valid: typing them is what takes time.
LARGE = {
    "scalars": _behind({"op": "map", "fields": {"x": "n + 1"}}, 998),
    "scalars over many fields": _behind({"op": "map", "fields": {"x": "n + 1"}}, 998, **_WIDE),
    "conditions": _behind({"op": "filter", "where": " AND ".join(["n > 1"] * 74)}, 998),
    "sums": _behind({"op": "filter", "where": " + ".join(["n"] * 149) + " > 1"}, 998),
    "texts put together": _behind({"op": "map", "fields": {"x": " || ".join(["text"] * 149)}}, 800),
    "copied operands": _behind({"op": "filter", "where": "n BETWEEN 1 AND 2" + " BETWEEN 1 AND 'a'" * 7}, 998),
    "nested operands": _behind({"op": "map", "fields": {"x": "LEFT(text, " * 8 + "n" + ")" * 8}}, 998),
    "many scalars": _behind({"op": "map", "fields": {f"x{number}": "n" for number in range(256)}}, 250),
    "aggregates": _behind({"op": "aggregate", "aggs": {"n": "sum(n)"}}, 998),
    "aggregates of many fields": {
        "s": _source(**_WIDE, n=1),
        **{f"a{n}": {"op": "aggregate", "in": "s", "aggs": {"x": "sum(n)"}} for n in range(490)},
        **{f"o{n}": {"op": "sink", "in": f"a{n}", "uri": f"collection:c{n}"} for n in range(490)},
    },
    "unions of many fields": {
        **{f"s{n}": _source(**_WIDE) for n in range(60)},
        **{f"u{n}": {"op": "union", "in": [f"s{m}" for m in range(60)]} for n in range(150)},
        **{f"o{n}": {"op": "sink", "in": f"u{n}", "uri": f"collection:c{n}"} for n in range(150)},
    },
}


@pytest.mark.parametrize("name", LARGE)
def test_the_types_of_a_large_pipeline_are_followed_at_once_or_not_to_the_end(name: str) -> None:
    text = _json(LARGE[name])
    assert len(text) <= MAX_TEXT_BYTES
    began = time.thread_time()
    with contextlib.suppress(PipelineInvalidError):
        from_yaml(text, FileAccess(()))
    assert time.thread_time() - began < 2 * SECONDS


@pytest.mark.parametrize(
    "path", ["a\\u0000b", "\\u0000", "~nobody-of-this-name/x", "a\\nb", "a\\ud800", "x" * 300, "a/" * 3000]
)
@pytest.mark.parametrize("rooted", [True, False])
@pytest.mark.parametrize("op", ["source", "sink"])
def test_a_path_that_is_none_is_an_error_of_its_node(path: str, rooted: bool, op: str, tmp_path: Path) -> None:
    # As JSON text, in which the escapes of the path stand for their characters.
    folder = json.loads(f'"folder:{path}"')
    file = json.loads(f'"jsonl:{path}"')
    source = {"op": "source", "uri": folder} if op == "source" else _source(a=1)
    text = _json({"s": source, "o": {"op": "sink", "in": "s", "uri": file if op == "sink" else "collection:x"}})
    if path == "x" * 300 and not rooted:
        return  # a name too long for a file is one that is not there
    with pytest.raises(PipelineInvalidError) as refusal:
        from_yaml(text, FileAccess((tmp_path,) if rooted else None))
    assert str(refusal.value)


def test_the_caps_on_nodes_and_edges_are_named() -> None:
    with pytest.raises(PipelineInvalidError, match=f"{MAX_NODES + 1} nodes; use at most {MAX_NODES}"):
        from_yaml(_json(_chain(MAX_NODES + 1)))
    nodes = {f"n{n}": {"op": "chunk", "in": [f"m{i}" for i in range(60)]} for n in range(900)}
    with pytest.raises(PipelineInvalidError, match=f"inputs together; use at most {MAX_EDGES}"):
        from_yaml(_json(nodes))


def test_a_thousand_nodes_are_read() -> None:
    nodes = _chain(MAX_NODES - 1)
    nodes["out"] = {"op": "sink", "in": f"n{MAX_NODES - 2}", "uri": "collection:out"}
    assert len(from_yaml(_json(nodes)).nodes) == MAX_NODES


def test_only_the_first_few_wrong_names_get_a_suggestion() -> None:
    nodes = {"s": {"op": "source", "records": [{"a": 1}]}}
    nodes |= {f"o{n}": {"op": "sink", "in": "ss", "uri": f"collection:{n}"} for n in range(50)}
    with pytest.raises(PipelineInvalidError) as refusal:
        from_yaml(_json(nodes))
    suggested = [problem for problem in refusal.value.problems if "did you mean" in problem.message]
    assert 1 <= len(suggested) <= 10


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from(["source", "sink", "llm", "folder:\0", "jsonl:~x/\0", "collection:x", "s", "o", "sage/v1"]),
)  # fmt: skip
_KEYS = st.one_of(
    st.sampled_from(["op", "in", "uri", "records", "fields", "prompt", "index", "s", "o"]), st.text(max_size=8)
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=5), max_leaves=30
)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.dictionaries(_KEYS, _VALUES, max_size=4))
def test_whatever_nodes_say_is_a_pipeline_or_a_refusal(nodes: dict[str, Any]) -> None:
    _read(_json(nodes))


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.one_of(st.text(max_size=200), st.text(alphabet="[]{}:,&*!|>-?'\"%@\\ \n\ta0~#<=.", max_size=200)))
def test_whatever_text_is_a_pipeline_or_a_refusal(text: str) -> None:
    _read(text)
    _read(HEAD + "nodes: " + text)


def _read(text: str) -> None:
    try:
        spec = from_yaml(text, FileAccess(()))
    except PipelineInvalidError as error:
        str(error).encode()
        return
    assert PipelineSpec.model_validate(spec.to_dict()).spec_hash == spec.spec_hash


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_the_order_and_the_shared_ancestors_are_those_of_the_definition(seed: int, count: int) -> None:
    chance = Random(seed)
    spec = _random_pipeline(chance, count)
    order = topological_order(spec.nodes)
    place = {node_id: position for position, node_id in enumerate(order)}
    assert sorted(order) == sorted(spec.nodes)
    for node_id, node in spec.nodes.items():
        above = [*node.inputs, *(name for _, name in node.needs())]
        assert all(place[name] < place[node_id] for name in above)

    def ancestors(node_id: str) -> set[str]:
        node = spec.nodes[node_id]
        above = {*node.inputs, *(name for _, name in node.needs())}
        return above.union(*map(ancestors, above))

    expected = {
        node_id
        for node_id, node in spec.nodes.items()
        if set().union(*(ancestors(name) for _, name in node.needs()))
        & {name for taken in node.inputs for name in {taken, *ancestors(taken)}}
    }
    assert sharing_ancestors(spec.nodes) == expected


def _random_pipeline(chance: Random, count: int) -> PipelineSpec:
    nodes: dict[str, Any] = {"s": {"op": "source", "records": [{"text": "a"}]}}
    streams, indexes = ["s"], []
    for number in range(count):
        kind = chance.choice(["embed", "index", "retrieve", "source"])
        node_id = f"{kind}{number}"
        if kind == "source":
            nodes[node_id] = {"op": "source", "records": [{"text": "a"}]}
            streams.append(node_id)
        elif kind == "retrieve" and indexes:
            nodes[node_id] = {"op": "retrieve", "in": chance.choice(streams), "index": chance.choice(indexes)}
            streams.append(node_id)
        elif kind == "index":
            nodes[node_id] = {"op": "index", "in": chance.choice(streams)}
            indexes.append(node_id)
        else:
            nodes[node_id] = {"op": "embed", "in": chance.choice(streams)}
            streams.append(node_id)
    return PipelineSpec.model_validate(
        {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes}
    )
