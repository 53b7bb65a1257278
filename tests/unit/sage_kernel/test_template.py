from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_common.errors import UnprocessableError
from sage_kernel.template import Template
from sage_libs.prompts import Passage, render_context


@given(st.text())
def test_any_text_with_doubled_braces_comes_out_as_it_was(text: str) -> None:
    template = Template(text.replace("{", "{{").replace("}", "}}"))
    assert template.paths == ()
    assert template.render({}) == text


def test_fields_are_filled_and_reported_once_in_order() -> None:
    template = Template("{b}: {a.x} {{literal}} {b}{n}")
    assert template.paths == ("b", "a.x", "n")
    assert template.render({"a": {"x": 1.5}, "b": "{a}", "n": None}) == "{a}: 1.5 {literal} {a}"


def test_a_list_of_passages_becomes_a_context_block_and_other_values_json() -> None:
    hits = [{"text": "Sky.", "path": "a.md", "score": 1}, {"text": "Sea.", "id": 7}]
    expected = render_context([Passage("Sky.", "a.md"), Passage("Sea.", "7")])
    assert Template("{c}").render({"c": hits}) == expected
    assert Template("{c}").render({"c": []}) == render_context([])
    assert Template("{c}").render({"c": {"ä": [1]}}) == '{"ä": [1]}'


@pytest.mark.parametrize("text", ["{", "}", "{a", "a}", "{a b}", "{}", "{0}", "{a.}", "{a!r}", "{a[0]}", "{a:>3}"])
def test_what_is_not_a_field_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"partner|not a field"):
        Template(text)


def test_a_path_reaches_keys_only_and_a_missing_one_is_named() -> None:
    with pytest.raises(UnprocessableError, match="no '__class__'"):
        Template("{a.__class__}").render({"a": "x"})
    with pytest.raises(UnprocessableError, match=r"no 'b' \(it has a\)"):
        Template("{b}").render({"a": "x"})
