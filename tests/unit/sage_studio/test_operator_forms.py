"""Forms for operators, and the nodes that are made of them."""

from __future__ import annotations

import yaml

from sage_kernel.operators.registry import OPERATORS
from sage_kernel.validation import from_yaml
from sage_studio.operator_forms import node_text, operator_forms, with_node
from sage_studio.pages.pipeline_editor_page import EXAMPLE


def test_every_operator_has_a_form_with_what_it_needs_first() -> None:
    forms = operator_forms()
    assert forms.keys() == OPERATORS.keys()
    llm = forms["llm"]
    assert (llm.fields[0].name, llm.fields[0].required, llm.takes_input) == ("prompt", True, True)
    kinds = {field.name: field.kind for field in llm.fields}
    assert (kinds["max_tokens"], kinds["temperature"], kinds["on_error"], kinds["out"]) == (
        "whole",
        "number",
        "choice",
        "yaml",
    )
    assert not forms["source"].takes_input


def test_a_node_is_added_to_the_nodes_and_all_else_stays_as_it_is() -> None:
    text = "# mine\nkind: Pipeline\nnodes:\n  a: {op: source}  # first\n\n# of all\nsettings: {}\n"
    added = with_node(text, node_text("b", "map", ["a"], {"fields": {"n": "LENGTH(text)"}}))
    assert yaml.safe_load(added)["nodes"] == {
        "a": {"op": "source"},
        "b": {"op": "map", "in": ["a"], "fields": {"n": "LENGTH(text)"}},
    }
    assert added.startswith("# mine\nkind: Pipeline\nnodes:\n  a: {op: source}  # first\n  b:\n")
    assert added.endswith("\n# of all\nsettings: {}\n")


def test_a_node_is_added_where_there_is_none_and_at_the_end_of_a_text_without_a_newline() -> None:
    node = node_text("a", "source", [], {"records": [{"x": 1}]})
    for text in ("kind: Pipeline", "kind: Pipeline\nnodes:"):
        assert list(yaml.safe_load(with_node(text, node))["nodes"]) == ["a"]


def test_the_pipeline_that_one_begins_with_is_valid_and_stays_so_with_a_node_more() -> None:
    from_yaml(EXAMPLE)
    node = node_text("long", "filter", ["notes"], {"where": "LENGTH(text) > 10"})
    sink = node_text("kept", "sink", ["long"], {"uri": "collection:kept"})
    assert "kept" in from_yaml(with_node(with_node(EXAMPLE, node), sink)).nodes
