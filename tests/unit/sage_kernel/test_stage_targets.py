from __future__ import annotations

import pytest

from sage_kernel.builder import Pipeline
from sage_kernel.stage_targets import LEAST_SECONDS, StageTargets, stages_from


def nodes() -> object:
    pipeline = Pipeline("p")
    asked = pipeline.source(records=[{"text": "a"}], id="questions").embed(id="first")
    pipeline.source(records=[{"text": "a"}], id="docs").embed(id="vectors").index("kb")
    found = asked.retrieve("kb", id="found")
    found.rerank("{text}", id="second").llm("{text}", id="third").sink("collection:out", id="out")
    return pipeline.build().nodes


def test_a_stage_counts_the_model_calls_that_are_still_to_come() -> None:
    assert stages_from(nodes()) == {
        "questions": 3, "first": 3, "docs": 3, "vectors": 3, "kb": 2, "found": 2, "second": 2, "third": 1, "out": 0,
    }  # fmt: skip


def test_what_is_left_of_a_deadline_is_shared_by_the_stages_that_are_left() -> None:
    left = 30.0
    targets = StageTargets(nodes(), lambda: left)
    assert targets.target_seconds("first", None) == pytest.approx(10)
    assert targets.target_seconds("third", None) == pytest.approx(30)
    assert targets.target_seconds("third", 2.0) == 2.0
    left = -5.0
    assert targets.target_seconds("third", None) == LEAST_SECONDS


def test_without_a_deadline_a_nodes_own_target_counts() -> None:
    targets = StageTargets(nodes(), None)
    assert targets.target_seconds("first", None) is None
    assert targets.target_seconds("first", 2.0) == 2.0
