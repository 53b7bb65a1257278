from __future__ import annotations

from datetime import datetime

import pytest
from pydantic import BaseModel

from sage_common.errors import InvalidRequestError
from sage_kernel.aggregates import count, max_
from sage_kernel.builder import Pipeline
from sage_kernel.problems import PipelineInvalidError
from sage_kernel.validation import from_yaml
from sage_kernel.window_kinds import Sliding

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


class Ticket(BaseModel):
    ts: datetime
    text: str
    topic: str | None


class Answer(BaseModel):
    reply: str


def test_classes_windows_and_aggregates_are_written_as_the_yaml_writes_them() -> None:
    pipeline = Pipeline("triage", version=3, deadline="10m")
    tickets = pipeline.source(records=[], schema=Ticket, event_time="ts", lateness="30s")
    answers = tickets.filter("LENGTH(text) > 20").embed(batch=(64, "10ms")).llm("{text}", out=Answer, slo="2s")
    windows = answers.key_by("topic", "reply").window(Sliding("10m", "1m", lateness="5s"))
    stats = windows.aggregate(n=count(), longest=max_("LENGTH(text)"), node_id="stats")
    stats.sink("collection:stats")
    stats.late.sink("collection:late")
    written = pipeline.build().to_dict()
    assert written["settings"] == {"deadline": "10m"}
    nodes = written["nodes"]
    assert nodes["source"]["schema"] == {"ts": "timestamp", "text": "string", "topic": "string"}
    assert nodes["filter"]["where"] == "LENGTH(text) > 20"
    assert nodes["llm"]["out"] == {"reply": "string"}
    assert nodes["key_by"]["fields"] == ["topic", "reply"]
    assert nodes["window"] == {"op": "window", "in": ["key_by"], "sliding": ["10m", "1m"], "lateness": "5s"}
    assert nodes["stats"]["aggs"] == {"n": "count()", "longest": "max(LENGTH(text))"}


def test_streams_are_inputs_by_position_and_indexes_by_name() -> None:
    pipeline = Pipeline("p")
    one = pipeline.source(records=[{"text": "a"}])
    two = pipeline.source(records=[{"text": "b"}])
    assert pipeline.union(one, two).id == "union"
    assert one.union(two).id == "union_2"
    kb = one.embed().index("kb")
    two.embed().retrieve(index=kb).sink("collection:x")
    nodes = pipeline._nodes
    assert nodes["union"]["in"] == nodes["union_2"]["in"] == ["source", "source_2"]
    assert nodes["retrieve"]["index"] == "kb"


def test_a_function_goes_where_a_function_belongs_and_has_no_yaml() -> None:
    pipeline = Pipeline("p")
    numbers = pipeline.source(records=[{"n": 1}])
    numbers.filter(lambda record: record["n"] > 0).map({"m": "n + 1"}).sink("collection:out")
    assert pipeline.validate() == []
    with pytest.raises(InvalidRequestError, match="node 'filter', field 'ref'"):
        pipeline.to_yaml()


def test_two_pipelines_are_equal_as_data() -> None:
    assert triage() == triage()
    assert Pipeline.from_yaml(triage().to_yaml()) == triage()
    other = triage()
    other.source(records=[{"a": 1}]).sink("collection:more")
    assert other != triage()
