"""What others may rely on in a pipeline: its texts, its hashes, its operators. A change here breaks their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage_kernel.operators.registry import OPERATORS
from sage_kernel.validation import from_yaml

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "pipelines").glob("*.yaml"))

PINNED = """
apiVersion: sage/v1
kind: Pipeline
metadata: {name: triage, version: 3}
nodes:
  documents: {op: source, uri: "folder:docs"}
  chunks: {op: chunk, in: [documents], max_characters: 800, overlap_characters: 100}
  vectors: {op: embed, in: [chunks], text: "{text}", model: minilm, batch: 32, cache: docs}
  kb: {op: index, in: [vectors]}
  tickets: {op: source, records: [{text: "It does not start"}]}
  asked: {op: embed, in: [tickets], model: minilm}
  found: {op: retrieve, in: [asked], index: kb, by: vector, k: 4, into: context}
  answers: {op: llm, in: [found], prompt: "{context} {text}", model: chat, concurrency: 32, on_error: dlq}
  out: {op: sink, in: [answers], uri: "collection:answers"}
"""
PINNED_HASH = "793084f27ec6c3eb43e67d926456df8ad6e2e96cbda0a251f4f0dcddcb929f69"


def test_the_hash_of_a_pipeline_never_changes() -> None:
    # Job states, results and caches carry it: a new default or a renamed parameter must not move it.
    assert from_yaml(PINNED).spec_hash == PINNED_HASH


def test_the_operators_of_the_first_version_stay() -> None:
    parameters = {op: set(entry.spec.model_fields) for op, entry in OPERATORS.items()}
    common = {"op", "inputs", "on_error", "retries", "concurrency", "ordered"}
    for op, own in {
        "source": {"uri", "records", "max_file_bytes", "max_files"},
        "chunk": {"text", "max_characters", "overlap_characters"},
        "embed": {"text", "into", "model", "batch", "cache"},
        "index": {"vector", "text"},
        "retrieve": {"index", "by", "k", "into", "min_score"},
        "llm": {"prompt", "system", "into", "model", "max_tokens", "temperature"},
        "sink": {"uri", "fields"},
    }.items():
        assert parameters[op] >= common | own


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_valid_and_reads_back(path: Path) -> None:
    spec = from_yaml(path.read_text(encoding="utf-8"))
    assert from_yaml(spec.to_yaml()) == spec
    assert from_yaml(spec.canonical_json()).spec_hash == spec.spec_hash


def test_there_are_examples() -> None:
    assert EXAMPLES
