"""A pipeline to try."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sage_kernel.problems import PipelineInvalidError
from sage_kernel.validation import from_yaml
from sage_studio.sample_pipeline import sampled

EXAMPLES = Path(__file__).parents[3] / "examples/pipelines"


@pytest.mark.parametrize("name", ["summaries", "triage_tickets"])
def test_nothing_leaves_a_sample_and_every_node_shows_its_records(name: str) -> None:
    text = (EXAMPLES / f"{name}.yaml").read_text()
    sample, collections = sampled(text)
    spec = from_yaml(sample)
    inner = [node for node, value in yaml.safe_load(text)["nodes"].items() if value["op"] != "sink"]
    assert list(collections) == inner
    sinks = [node for node in yaml.safe_load(sample)["nodes"].values() if node["op"] == "sink"]
    assert {sink["uri"] for sink in sinks} == {f"collection:{name}" for name in collections.values()}
    assert spec.metadata.name.endswith("-sample")


def test_a_stream_is_read_to_where_it_is_and_records_are_a_few() -> None:
    sample, _ = sampled((EXAMPLES / "triage_tickets.yaml").read_text())
    assert yaml.safe_load(sample)["nodes"]["tickets"]["bounded"] is True
    short, _ = sampled((EXAMPLES / "summaries.yaml").read_text(), most_records=1)
    assert len(yaml.safe_load(short)["nodes"]["notes"]["records"]) == 1


def test_what_is_not_valid_is_not_sampled() -> None:
    with pytest.raises(PipelineInvalidError):
        sampled("kind: Pipeline\nnodes: {a: {op: nothing}}")
