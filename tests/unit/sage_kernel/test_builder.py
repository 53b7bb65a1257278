from __future__ import annotations

import pytest

from sage_common.errors import InvalidRequestError
from sage_kernel.builder import Pipeline
from sage_kernel.problems import PipelineInvalidError
from sage_kernel.validation import from_yaml

YAML = """\
apiVersion: sage/v1
kind: Pipeline
metadata:
  name: triage
  version: 3
nodes:
  tickets:
    op: source
    records:
    - text: a
  embed:
    op: embed
    in:
    - tickets
    text: '{text}'
    cache: kb
  sink:
    op: sink
    in:
    - embed
    uri: collection:out
"""


def triage() -> Pipeline:
    pipeline = Pipeline("triage", version=3)
    pipeline.source(records=[{"text": "a"}], id="tickets").embed("{text}", cache="kb").sink("collection:out")
    return pipeline


def test_the_builder_and_the_yaml_make_the_same_pipeline() -> None:
    assert triage().validate() == []
    assert triage().build() == from_yaml(YAML)
    assert Pipeline.from_yaml(YAML).build() == from_yaml(YAML)
    assert from_yaml(triage().to_yaml()) == from_yaml(YAML)


def test_node_ids_are_the_operators_names_numbered_from_the_second_on() -> None:
    pipeline = Pipeline("p")
    first = pipeline.source(records=[{"text": "a"}])
    second = pipeline.source(records=[{"text": "a"}])
    assert (first.id, second.id) == ("source", "source_2")
    both = pipeline.add("chunk", inputs=[first, second])
    both.sink("collection:x")
    assert pipeline.build().nodes["chunk"].inputs == ("source", "source_2")


def test_a_misspelt_operator_or_parameter_names_the_nearest() -> None:
    pipeline = Pipeline("p")
    source = pipeline.source(records=[{"text": "a"}])
    with pytest.raises(AttributeError, match="did you mean 'chunk'"):
        source.chnk()
    source.chunk(max_charcters=4).sink("collection:x")
    with pytest.raises(PipelineInvalidError, match="did you mean 'max_characters'"):
        pipeline.build()
    assert [problem.field for problem in pipeline.validate()] == ["max_charcters"]
    assert "chunk" in dir(source)
    assert "source" not in dir(source)


def test_mistakes_of_wiring_are_refused_where_they_are_made() -> None:
    pipeline = Pipeline("p")
    source = pipeline.source("folder:docs", id="a")
    with pytest.raises(InvalidRequestError, match="already"):
        source.chunk(id="a")
    with pytest.raises(InvalidRequestError, match="another pipeline"):
        Pipeline("q").add("chunk", inputs=[source])
    with pytest.raises(InvalidRequestError, match="by position and by name"):
        source.embed("{text}", text="{text}")
    with pytest.raises(InvalidRequestError, match="takes 0 values by position, got 1"):
        source.chunk(100)
    with pytest.raises(InvalidRequestError, match="did you mean 'sink'"):
        pipeline.add("sinc")
