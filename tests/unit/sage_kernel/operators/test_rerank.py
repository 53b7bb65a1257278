from __future__ import annotations

from typing import Any

import pytest

from sage_kernel.builder import Pipeline
from sage_kernel.problems import NodeFailedError
from sage_kernel.runtime.local import LocalRunner


async def ranked(models: Any, passages: list[Any], **parameters: Any) -> list[Any]:
    pipeline = Pipeline("p")
    source = pipeline.source(records=[{"question": "abc", "context": passages}])
    source.rerank("{question}", **parameters).sink("collection:out")
    result = await LocalRunner(models).run(pipeline.build())
    return list(result.collections["out"][0][parameters.get("into", "context")])


async def test_the_most_relevant_passages_come_first(models: Any) -> None:
    passages = [{"text": "xyz", "id": 1}, {"text": "abc", "id": 2}, {"text": "axx", "id": 3}]
    found = await ranked(models, passages)
    assert [(one["id"], one["score"]) for one in found] == [(2, 3.0), (3, 1.0), (1, 0.0)]
    assert len(await ranked(models, passages, k=2)) == 2


async def test_plain_texts_are_ranked_too_and_may_go_elsewhere(models: Any) -> None:
    assert await ranked(models, ["x", "ab"], into="best") == [{"text": "ab", "score": 2.0}, {"text": "x", "score": 0.0}]


async def test_no_passages_need_no_model(models: Any) -> None:
    pipeline = Pipeline("p")
    source = pipeline.source(records=[{"q": "a", "c": []}], schema={"q": "string", "c": [{"text": "string"}]})
    source.rerank("{q}", passages="c").sink("collection:out")
    models.rank = None
    assert (await LocalRunner(models).run(pipeline.build())).collections["out"] == [{"q": "a", "c": []}]


async def test_what_has_no_text_is_refused(models: Any) -> None:
    with pytest.raises(NodeFailedError, match="has no text"):
        await ranked(models, [{"id": 1}])
    pipeline = Pipeline("p")
    pipeline.source(records=[{"q": "a", "c": 1}]).rerank("{q}", passages="c").sink("collection:out")
    assert [problem.field for problem in pipeline.validate()] == ["passages"]
