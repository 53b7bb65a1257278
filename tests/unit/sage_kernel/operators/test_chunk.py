from __future__ import annotations

from typing import Any

import pytest

from sage_kernel.builder import Pipeline
from sage_kernel.problems import NodeFailedError
from sage_kernel.runtime.local import LocalRunner


async def test_chunks_keep_the_record_and_say_where_they_stand(models: Any) -> None:
    text = "One is one. Two is two. Three is three."
    pipeline = Pipeline("p")
    pipeline.source(records=[{"id": "a", "text": text}]).chunk(max_characters=24, overlap_characters=0).sink(
        "collection:out"
    )
    chunks = (await LocalRunner(models).run(pipeline.build())).collections["out"]
    assert [(c["id"], c["start"], c["end"], c["text"]) for c in chunks] == [
        ("a", 0, 23, "One is one. Two is two."), ("a", 24, 39, "Three is three."),
    ]  # fmt: skip


async def test_a_field_that_is_not_text_is_refused(models: Any) -> None:
    pipeline = Pipeline("p")
    pipeline.source(records=[{"text": 3}]).chunk().sink("collection:out")
    with pytest.raises(NodeFailedError, match="'text' is int, expected text"):
        await LocalRunner(models).run(pipeline.build())
