from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_kernel.builder import Pipeline
from sage_kernel.file_access import FileAccess
from sage_kernel.nodes import Producer
from sage_kernel.problems import PipelineInvalidError, Problem
from sage_kernel.type_inference import infer_types
from sage_kernel.validation import from_dict, from_yaml


def problems(nodes: object, **top: Any) -> list[Problem]:
    envelope = {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes, **top}
    try:
        from_dict(envelope)
    except PipelineInvalidError as error:
        return list(error.problems)
    return []


SOURCE = {"op": "source", "records": [{"text": "a"}]}
SINK = {"op": "sink", "in": "s", "uri": "collection:out"}


def test_a_good_pipeline_has_no_problems() -> None:
    assert problems({"s": SOURCE, "out": SINK}) == []


@pytest.mark.parametrize(
    ("nodes", "where", "message"),
    [
        ({"s": {**SOURCE, "op": "sauce"}, "out": SINK}, ("s", "op"), "did you mean 'source'"),
        ({"s": {"records": []}, "out": SINK}, ("s", "op"), "known: aggregate"),
        ({"s": {**SOURCE, "recrods": []}, "out": SINK}, ("s", "recrods"), "did you mean 'records'"),
        ({"s": {"op": "source"}, "out": SINK}, ("s", ""), "either 'uri' or 'records'"),
        ({"s": {"op": "source", "uri": "floder:x"}, "out": SINK}, ("s", "uri"), "did you mean 'folder'"),
        ({"s": {"op": "source", "uri": "folder:"}, "out": SINK}, ("s", "uri"), "names nothing"),
        ({"s": {"op": "source", "uri": "docs"}, "out": SINK}, ("s", "uri"), "no scheme"),
        ({"s": {**SOURCE, "in": ["s"]}, "out": SINK}, ("s", "in"), "takes no input"),
        ({"s": {**SOURCE, "retries": -1}, "out": SINK}, ("s", "retries"), "got -1"),
        ({"s": SOURCE, "out": {**SINK, "in": []}}, ("out", "in"), "no input"),
        ({"s": SOURCE, "out": {**SINK, "in": "z"}}, ("out", "in"), "there is no node 'z'"),
        ({"s": SOURCE, "out": {**SINK, "in": ["s", "s"]}}, ("out", "in"), "2 times"),
        ({"s": SOURCE, "out": {**SINK, "fields": ["txet"]}}, ("out", "fields"), "did you mean 'text'"),
        ({"s": SOURCE, "out": SINK, "more": {**SINK, "in": "out"}}, ("more", "in"), "gives nothing out"),
        ({"s": SOURCE, "out": SINK, "more": SINK}, ("more", "uri"), "written by 'out' too"),
        ({"s": SOURCE, "out": SINK, "t": SOURCE}, ("t", ""), "goes nowhere"),
        ({"s": SOURCE, "out": SINK, "9": SOURCE}, ("9", ""), "not a name"),
        ({"s": SOURCE, "out": 3}, ("out", ""), "of type int"),
        ({"s": SOURCE}, ("", "nodes"), "no sink"),
        ({}, ("", "nodes"), "empty"),
        ([], ("", "nodes"), "of type list"),
        ({"s": SOURCE, "c": {"op": "chunk", "in": "s", "overlap_characters": 2000}, "out": SINK}, ("c", ""), "below"),
        (
            {"s": SOURCE, "l": {"op": "llm", "in": "s", "prompt": "{txt"}, "out": {**SINK, "in": "l"}},
            ("l", "prompt"),
            "no partner",
        ),
        (
            {"s": SOURCE, "l": {"op": "llm", "in": "s", "prompt": "{txt}"}, "out": {**SINK, "in": "l"}},
            ("l", "prompt"),
            "did you mean 'text'",
        ),
        (
            {"s": SOURCE, "e": {"op": "embed", "in": "s"}, "kb": {"op": "index", "in": "e"}, "out": SINK},
            ("kb", ""),
            "no node retrieves",
        ),
        (
            {"s": SOURCE, "e": {"op": "embed", "in": "s"}, "r": {"op": "retrieve", "in": "e", "index": "s"},
             "out": {**SINK, "in": "r"}},
            ("r", "index"),
            "not an index",
        ),
    ],
)  # fmt: skip
def test_a_problem_names_node_field_and_remedy(nodes: Any, where: tuple[str, str], message: str) -> None:
    found = [p for p in problems(nodes) if (p.node, p.field) == where]
    assert [p for p in found if message in p.message], problems(nodes)
    assert all(p.remedy for p in problems(nodes))


def test_a_cycle_is_shown_with_its_path() -> None:
    cycle = {
        "s": SOURCE,
        "a": {"op": "chunk", "in": ["s", "c"]},
        "b": {"op": "chunk", "in": "a"},
        "c": {"op": "chunk", "in": "b"},
        "out": {**SINK, "in": "c"},
    }
    found = [p.message for p in problems(cycle) if "depends on itself" in p.message]
    assert len(found) == 1
    assert " → ".join("abcabc")[: len("a → b → c")] in found[0] or "b → c → a" in found[0] or "c → a → b" in found[0]


def test_a_cycle_through_an_index_is_found() -> None:
    nodes = {
        "s": SOURCE,
        "e": {"op": "embed", "in": "s"},
        "r": {"op": "retrieve", "in": "e", "index": "kb"},
        "kb": {"op": "index", "in": "r"},
        "out": {**SINK, "in": "r"},
    }
    assert [p for p in problems(nodes) if "depends on itself" in p.message]


def test_all_errors_are_reported_at_once() -> None:
    text = """
    apiVersion: sage/v2
    kind: Pipelin
    metadata: {nmae: x}
    extra: 1
    nodes:
      a: {op: sourse}
      b: {op: chunk, in: nobody, max_chars: 5}
      c: {op: llm, in: b}
    """
    with pytest.raises(PipelineInvalidError) as caught:
        from_yaml(text)
    lines = [str(problem) for problem in caught.value.problems]
    for expected in (
        "'apiVersion'", "'kind'", "'nmae'", "'extra'", "'sourse'", "'max_chars'", "field 'prompt': it is missing",
    ):  # fmt: skip
        assert any(expected in line for line in lines), (expected, lines)
    assert str(caught.value).startswith(f"the pipeline has {len(lines)} errors:\n- ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
parameters = st.sampled_from(
    ["op", "in", "uri", "records", "prompt", "index", "text", "k", "retries", "fields", "on_error", "x"]
)
operators = st.sampled_from(["source", "chunk", "embed", "index", "retrieve", "llm", "sink", "?"])
odd_nodes = st.dictionaries(parameters, json_values | st.sampled_from(["a", "b", ["a", "b"]]), max_size=5)


@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        json_values | st.builds(lambda op, rest: {**rest, "op": op}, operators, odd_nodes),
        max_size=4,
    )
)
def test_whatever_comes_in_is_accepted_or_refused_with_problems(nodes: dict[str, Any]) -> None:
    for problem in problems(nodes):
        assert problem.message
        assert problem.remedy


def test_paths_that_are_not_allowed_are_reported_with_the_other_errors(tmp_path: Path) -> None:
    nodes = {
        "s": {"op": "source", "uri": "folder:/etc"},
        "c": {"op": "chnk", "in": "s"},
        "out": {"op": "sink", "in": "c", "uri": f"jsonl:{tmp_path}/out.jsonl"},
    }
    envelope = {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes}
    with pytest.raises(PipelineInvalidError) as caught:
        from_dict(envelope, FileAccess((tmp_path,), "some.setting"))
    assert [(problem.node, problem.field) for problem in caught.value.problems] == [("c", "op"), ("s", "uri")]
    assert str(caught.value.problems[0]).endswith("did you mean 'chunk'? choose a known operator")
    assert "some.setting" in caught.value.problems[1].remedy


def test_the_fields_of_hits_are_known_before_a_run() -> None:
    pipeline = Pipeline("p")
    pipeline.source(records=[{"text": "a", "id": "x"}], id="docs").embed().index("kb")
    found = pipeline.source(records=[{"text": "a"}], id="asked").embed().retrieve("kb", into="hits")
    found.sink("collection:out")
    types, _ = infer_types(pipeline.build().nodes)
    hits = types[Producer("retrieve", "")].fields["hits"]
    assert hits == pl.List(pl.Struct({"text": pl.String, "id": pl.String, "score": pl.Float64}))
