from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_kernel.builder import Pipeline
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.problems import PipelineInvalidError
from sage_kernel.spec import PipelineSpec, json_schema
from sage_kernel.validation import from_dict, from_yaml

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text()
# A field has one type in all records, and so has a list in itself.
values = scalars | st.lists(st.text(), max_size=3) | st.dictionaries(names, scalars, min_size=1, max_size=3)
records = st.dictionaries(names, values, max_size=3).map(lambda r: [{**r, "text": "t"}])


@st.composite
def pipelines(draw: st.DrawFn) -> PipelineSpec:
    p = Pipeline(draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)), draw(st.integers(1, 10**6)))
    docs = p.source(records=draw(records)).chunk(max_characters=draw(st.integers(1, 10**6)), overlap_characters=0)
    embedded = docs.embed(model=draw(st.none() | st.text(min_size=1)), batch=draw(st.integers(1, 4096)))
    embedded.index("kb", on_error=draw(st.sampled_from(["fail", "skip", "dlq"])))
    questions = p.source(records=draw(records), id=draw(names.filter(lambda n: n not in ("kb", "source"))) + "_q")
    found = questions.embed("{text}").retrieve("kb", k=draw(st.integers(1, 100)), min_score=draw(st.floats(-1, 1)))
    prompt = draw(st.text(min_size=1)).replace("{", "{{").replace("}", "}}")
    found.llm(f"{{context}}{prompt}", temperature=draw(st.none() | st.floats(0, 2))).sink("collection:out")
    return p.build()


@given(pipelines())
def test_yaml_and_json_read_back_as_an_equal_pipeline_with_the_same_hash(spec: PipelineSpec) -> None:
    again = from_yaml(spec.to_yaml())
    assert again == spec
    assert again.spec_hash == spec.spec_hash
    assert from_yaml(spec.canonical_json()) == spec


@given(pipelines(), st.randoms(use_true_random=False))
def test_the_hash_does_not_depend_on_the_order_of_keys(spec: PipelineSpec, random: object) -> None:
    value = spec.to_dict()
    ids = list(value["nodes"])
    random.shuffle(ids)  # type: ignore[attr-defined]
    shuffled = {"nodes": {node_id: value["nodes"][node_id] for node_id in ids}}
    assert from_dict({**shuffled, **{k: v for k, v in value.items() if k != "nodes"}}).spec_hash == spec.spec_hash


def minimal(**source: object) -> dict[str, object]:
    return {
        "apiVersion": "sage/v1",
        "kind": "Pipeline",
        "metadata": {"name": "p"},
        "nodes": {
            "a": {"op": "source", "records": [{"n": 1}], **source},
            "b": {"op": "sink", "in": "a", "uri": "collection:x"},
        },
    }


def test_a_default_written_out_does_not_change_the_hash_but_another_value_does() -> None:
    plain = from_dict(minimal())
    assert from_dict(minimal(on_error="fail")).spec_hash == plain.spec_hash
    assert from_dict(minimal(on_error="skip")).spec_hash != plain.spec_hash


def test_the_hash_is_the_same_in_another_process() -> None:
    spec = from_dict(minimal())
    code = "import sys; from sage_kernel.validation import from_yaml; print(from_yaml(sys.stdin.read()).spec_hash)"
    other = subprocess.run(
        [sys.executable, "-c", code], input=spec.to_yaml(), capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == spec.spec_hash


def test_the_json_schema_names_every_operator_and_refuses_other_keys() -> None:
    schema = json_schema()
    (node,) = schema["properties"]["nodes"]["patternProperties"].values()
    mapping = node["discriminator"]["mapping"]
    assert set(mapping) == set(OPERATORS)
    assert schema["additionalProperties"] is False
    json.dumps(schema)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "neither YAML nor JSON"),
        ('{"a": 1, "a": 2}', "'a' appears twice"),
        ("a: 1\na: 2", "'a' appears twice"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("!!python/object/apply:os.system ['true']", "neither YAML nor JSON"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[" * 5000, "neither YAML nor JSON|nested too deeply"),
        ("x" * (1024 * 1024 + 1), "1048577 bytes"),
        ("just text", "of type str"),
        ("", "empty"),
    ],
)
def test_a_text_that_is_no_pipeline_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(PipelineInvalidError, match=message):
        from_yaml(text)
