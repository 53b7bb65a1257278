"""Drawings of pipelines: every node and arrow is there, text cannot break out, and a large graph takes no time."""

from __future__ import annotations

import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sage_common.errors import InvalidRequestError
from sage_kernel.builder import Pipeline
from sage_kernel.plot.drawing import draw
from sage_kernel.plot.layers import places
from sage_kernel.validation import from_dict

SVG = "{http://www.w3.org/2000/svg}"


def triage() -> Pipeline:
    pipeline = Pipeline("triage")
    kb = pipeline.source("folder:docs", node_id="docs").embed().index("kb")
    asked = pipeline.source(records=[{"text": "a"}]).filter("text <> '<b>&\"'").embed(on_error="output")
    asked.errors.sink("collection:failed")
    asked.retrieve(kb).sink("collection:out")
    return pipeline


def test_a_node_stands_behind_all_that_it_depends_on() -> None:
    spec = triage().build()
    where = places(spec.nodes)
    for node_id, node in spec.nodes.items():
        for name in (*(producer.node for producer in node.producers), *(name for _, name in node.needs())):
            assert where[name].layer < where[node_id].layer
    assert len(set(where.values())) == len(where)


def test_the_picture_has_every_node_and_arrow(tmp_path: Path) -> None:
    path = triage().plot(tmp_path / "dag.svg")
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    spec = triage().build()
    assert len(root.findall(f"{SVG}rect")) == len(spec.nodes)
    arrows = root.findall(f"{SVG}path")
    assert len(arrows) == sum(len(node.inputs) + len(list(node.needs())) for node in spec.nodes.values())
    assert [arrow.get("class") for arrow in arrows].count("waits") == 1
    texts = [text.text for text in root.findall(f"{SVG}text")]
    assert "errors" in texts
    assert "text <> '<b>&\"'" in texts


def test_mermaid_text_quotes_what_it_shows() -> None:
    text = draw(triage().build(), ".mmd")
    assert text.startswith("flowchart LR\n")
    assert "#lt;b#gt;&#quot;" in text
    assert "-- errors -->" in text
    assert "-.->" in text


def test_another_ending_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError, match=r"\.svg or \.mmd"):
        draw(triage().build(), ".png")


def test_a_thousand_nodes_are_drawn_at_once() -> None:
    nodes: dict[str, object] = {"n0": {"op": "source", "records": [{"text": "a"}]}}
    nodes |= {f"n{number}": {"op": "chunk", "in": [f"n{number - 1}"]} for number in range(1, 999)}
    nodes["end"] = {"op": "sink", "in": "n998", "uri": "collection:out"}
    spec = from_dict({"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes})
    began = time.process_time()
    assert draw(spec, ".svg").count("<rect") == 1000
    assert time.process_time() - began < 1.0
