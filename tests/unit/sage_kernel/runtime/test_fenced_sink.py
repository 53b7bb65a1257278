from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sage_kernel.builder import Pipeline
from sage_kernel.connectors.collections import MemoryCollections
from sage_kernel.file_access import ANY_FILE
from sage_kernel.problems import NodeFailedError
from sage_kernel.run_context import RunContext
from sage_kernel.runtime.executor import Execution, ExecutionOptions
from sage_kernel.runtime.fenced_sink import TakenOverError
from sage_kernel.runtime.progress import NodeCounts


@pytest.mark.parametrize("writes", [0, 1])
async def test_a_run_that_was_taken_over_writes_and_dead_letters_nothing_more(tmp_path: Path, writes: int) -> None:
    path = tmp_path / "out.jsonl"
    pipeline = Pipeline("p")
    pipeline.source(records=[{"n": 1}]).sink(f"jsonl:{path}", on_error="dlq")
    spec = pipeline.build()
    letters: list[Any] = []

    async def keep(letter: Any) -> None:
        letters.append(letter)

    asked = 0

    def may_write() -> bool:
        nonlocal asked
        asked += 1
        return asked <= writes

    context = RunContext(
        models=None,  # type: ignore[arg-type]
        files=ANY_FILE, collections=MemoryCollections(), cache_dir=None, warn=lambda node, message: None,
        skip=lambda skipped: None, dead_letter=keep, now_us=lambda: 0, run_id="run",
    )  # fmt: skip
    counts = {node_id: NodeCounts() for node_id in spec.nodes}
    execution = Execution(spec.nodes, spec.spec_hash, context, counts, ExecutionOptions(may_write=may_write))
    with pytest.raises(NodeFailedError) as failed:
        await execution.run()
    assert isinstance(failed.value.cause, TakenOverError)
    assert (letters, os.listdir(tmp_path)) == ([], [])
