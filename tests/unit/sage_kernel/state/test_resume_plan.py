from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_common.errors import ConflictError
from sage_kernel.operator import State
from sage_kernel.spec import PipelineSpec
from sage_kernel.state.checkpoint import Checkpoint, NodeCheckpoint
from sage_kernel.state.resume_plan import Fate, ResumePlan, plan_resume

SOURCE = {"op": "source", "records": [{"n": 1, "text": "a", "at": 5}], "schema": {"n": "int", "text": "string"}}
NODES: dict[str, dict[str, Any]] = {
    "docs": SOURCE,
    "big": {"op": "filter", "in": "docs", "where": "n > 1"},
    "answers": {"op": "llm", "in": "big", "prompt": "{text}"},
    "vectors": {"op": "embed", "in": "docs"},
    "kb": {"op": "index", "in": "vectors"},
    "out": {"op": "sink", "in": "answers", "uri": "collection:out"},
}


def spec(nodes: dict[str, dict[str, Any]]) -> PipelineSpec:
    # Not every graph in here is one that runs: what is planned is what becomes of each node.
    return PipelineSpec.model_validate(
        {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes}
    )


FRAME = pl.DataFrame({"n": [1], "text": ["a"]})
STATES = {
    "docs": State({"split": 0, "position": 5, "watermark": None}),
    "kb": State(frames={"000000": FRAME}),
    "out": State(frames={"records": FRAME}),
}


def checkpoint_of(
    pipeline: PipelineSpec, *, finished: tuple[str, ...] = (), waiting: tuple[str, ...] = ()
) -> Checkpoint:
    nodes = {
        node_id: NodeCheckpoint(
            node.op,
            STATES.get(node_id, State()),
            node_id in finished,
            State({"entries": [[0, "000000"]]}, {"000000": FRAME}) if node_id in waiting else State(),
        )
        for node_id, node in pipeline.nodes.items()
    }
    return Checkpoint(7, pipeline.spec_hash, nodes)


def fates(plan: ResumePlan) -> dict[str, Fate]:
    return {node.node: node.fate for node in plan.nodes}


def planned(after: dict[str, dict[str, Any]], **options: tuple[str, ...]) -> ResumePlan:
    old = spec(NODES)
    return plan_resume(checkpoint_of(old, **options), old.nodes, spec(after).nodes)


def changed(node_id: str, **parameters: Any) -> dict[str, dict[str, Any]]:
    return {**NODES, node_id: {**NODES[node_id], **parameters}}


def test_the_same_pipeline_is_kept_whole() -> None:
    plan = planned(NODES)
    assert set(fates(plan).values()) == {Fate.KEPT}
    old = spec(NODES)
    assert plan.apply(checkpoint_of(old), old.spec_hash) == checkpoint_of(old)


def test_a_node_without_state_may_change_and_one_with_state_may_not() -> None:
    assert fates(planned(changed("answers", prompt="Say {text}")))["answers"] is Fate.CHANGED
    plan = planned(changed("docs", records=[{"n": 2, "text": "b", "at": 5}]))
    assert fates(plan)["docs"] is Fate.INCOMPATIBLE
    with pytest.raises(ConflictError, match=r"cannot go on from checkpoint 7:\n- node 'docs': its state belongs"):
        plan.apply(checkpoint_of(spec(NODES)), "hash")


def test_how_a_node_works_may_change_in_any_case() -> None:
    assert fates(planned(changed("docs", retries=3)))["docs"] is Fate.CHANGED
    assert fates(planned(changed("answers", concurrency=64)))["answers"] is Fate.CHANGED


def test_another_operator_under_the_same_id_is_refused() -> None:
    after = {**NODES, "big": {"op": "map", "in": "docs", "fields": {"n": "n + 1"}}}
    assert fates(planned(after))["big"] is Fate.INCOMPATIBLE


def test_a_new_node_is_told_what_it_does_not_see_and_refused_where_that_is_everything() -> None:
    after = {**NODES, "more": {"op": "sink", "in": "big", "uri": "collection:more"}}
    plan = planned(after)
    assert fates(plan)["more"] is Fate.NEW
    assert "none of what docs had sent before" in next(n.reason for n in plan.nodes if n.node == "more")
    plan = planned(after, finished=("docs", "big"))
    assert fates(plan)["more"] is Fate.INCOMPATIBLE
    own = {**after, "other": SOURCE, "more": {"op": "sink", "in": "other", "uri": "collection:more"}}
    assert fates(planned(own, finished=("docs", "big")))["more"] is Fate.NEW


def test_a_new_index_needs_every_record() -> None:
    after = {**NODES, "kb2": {"op": "index", "in": "vectors"}}
    assert fates(planned(after))["kb2"] is Fate.INCOMPATIBLE


def test_what_is_gone_is_named_with_what_goes_with_it() -> None:
    after = {name: node for name, node in NODES.items() if name != "kb"}
    after = {name: node for name, node in after.items() if name != "vectors"}
    plan = planned(after, waiting=("vectors",))
    reasons = {node.node: node.reason for node in plan.nodes if node.fate is Fate.DROPPED}
    assert reasons == {
        "vectors": "dropped with it: the records that wait in front of it",
        "kb": "dropped with it: its state",
    }


def test_records_that_wait_must_fit_what_takes_them() -> None:
    after = changed("vectors", **{"in": "answers"})
    assert fates(planned(after))["vectors"] is Fate.CHANGED
    assert fates(planned(after, waiting=("vectors",)))["vectors"] is Fate.INCOMPATIBLE


def test_a_node_that_had_ended_takes_nothing_more() -> None:
    after = {**NODES, "late": SOURCE, "out": {**NODES["out"], "in": ["answers", "late"]}}
    every = tuple(NODES)
    assert fates(planned(after, finished=every))["out"] is Fate.INCOMPATIBLE


names = st.lists(st.sampled_from(["big", "answers", "vectors", "kb"]), unique=True)


@given(
    removed=st.booleans(),
    edits=st.dictionaries(st.sampled_from(["prompt", "where", "concurrency", "model", "uri"]), st.booleans()),
    finished=st.sampled_from([(), ("docs",), ("docs", "big"), ("docs", "vectors", "kb")]),
    waiting=names,
    added=st.booleans(),
)
def test_every_node_has_one_fate_and_nothing_that_changed_is_kept(
    removed: bool, edits: dict[str, bool], finished: tuple[str, ...], waiting: list[str], added: bool
) -> None:
    after = {name: dict(node) for name, node in NODES.items()}
    if edits.get("prompt"):
        after["answers"]["prompt"] = "other {text}"
    if edits.get("where"):
        after["big"]["where"] = "n > 2"
    if edits.get("concurrency"):
        after["answers"]["concurrency"] = 3
    if edits.get("model"):
        after["vectors"]["model"] = "other"
    if edits.get("uri"):
        after["out"]["uri"] = "collection:other"
    if removed:
        del after["kb"]
        after["sink2"] = {"op": "sink", "in": "vectors", "uri": "collection:vectors"}
    if added:
        after["extra"] = {"op": "sink", "in": "big", "uri": "collection:extra"}
    old, new = spec(NODES), spec(after)
    saved = checkpoint_of(old, finished=finished, waiting=tuple(waiting))
    plan = plan_resume(saved, old.nodes, new.nodes)
    assert sorted(node.node for node in plan.nodes) == sorted({*NODES, *after})
    for node in plan.nodes:
        assert node.reason
        if node.fate is Fate.KEPT:
            assert after[node.node] == NODES[node.node]
        assert (node.fate is Fate.DROPPED) == (node.node not in after)
        if node.fate is Fate.NEW:
            assert node.node not in NODES
    if plan.is_possible:
        resumed = plan.apply(saved, new.spec_hash)
        assert resumed.spec_hash == new.spec_hash
        assert set(resumed.nodes) <= set(after)
        assert set(resumed.nodes) == set(NODES) & set(after)
    elif "uri" not in edits or not edits["uri"]:
        assert added or removed


def test_what_is_handed_over_to_another_task_stays_of_the_fields_that_it_was() -> None:
    def shaped(text: str) -> dict[str, dict[str, Any]]:
        return {
            "docs": SOURCE,
            "shaped": {"op": "map", "in": "docs", "fields": {"n": text}},
            "out": {"op": "sink", "in": "shaped", "uri": "jsonl:/tmp/out"},
        }

    old, new = spec(shaped("n")), spec(shaped("n || text"))
    saved = checkpoint_of(old)
    assert fates(plan_resume(saved, old.nodes, new.nodes))["out"] is Fate.CHANGED
    plan = plan_resume(saved, old.nodes, new.nodes, frozenset(["out"]))
    assert fates(plan)["out"] is Fate.INCOMPATIBLE
