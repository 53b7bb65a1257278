from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sage_common.errors import NotFoundError
from sage_kernel.builder import Pipeline
from sage_kernel.file_access import FileAccess
from sage_kernel.problems import NodeFailedError
from sage_kernel.runtime.local import LocalRunner


def pipeline_into(path: Path, prompt: str = "{text}") -> Pipeline:
    pipeline = Pipeline("p")
    source = pipeline.source(records=[{"text": "ä"}, {"text": "b"}])
    source.llm(prompt).embed().sink(f"jsonl:{path}", fields=["text", "answer", "vector"])
    return pipeline


async def test_a_line_a_record_with_vectors_as_lists(models: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.jsonl"
    await LocalRunner(models).run(pipeline_into(path).build())
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert sorted((line["text"], line["answer"], len(line["vector"])) for line in lines) == [
        ("b", "B", 26), ("ä", "Ä", 26),
    ]  # fmt: skip
    assert os.listdir(path.parent) == ["out.jsonl"]


async def test_a_failed_run_leaves_the_old_file(models: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("old\n")
    models.failures["b"] = [NotFoundError("no")]
    with pytest.raises(NodeFailedError):
        await LocalRunner(models).run(pipeline_into(path).build())
    assert path.read_text() == "old\n"
    assert os.listdir(tmp_path) == ["out.jsonl"]


async def test_no_records_make_an_empty_file(models: Any, tmp_path: Path) -> None:
    pipeline = Pipeline("p")
    pipeline.source(records=[]).sink(f"jsonl:{tmp_path / 'out.jsonl'}")
    await LocalRunner(models).run(pipeline.build())
    assert (tmp_path / "out.jsonl").read_bytes() == b""


async def test_a_file_outside_the_allowed_roots_is_refused(models: Any, tmp_path: Path) -> None:
    files = FileAccess((), "dataflow_worker.allowed_roots")
    with pytest.raises(NodeFailedError, match=r"allowed: none"):
        await LocalRunner(models, files=files).run(pipeline_into(tmp_path / "out.jsonl").build())
    assert os.listdir(tmp_path) == []
