"""map, filter, flat_map, key_by and union: what they make of records, of types, and of records that fail."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from sage_common.errors import InvalidRequestError, PermissionDeniedError
from sage_kernel.functions import NO_FUNCTIONS, FunctionRegistry, allow
from sage_kernel.problems import NodeFailedError, PipelineInvalidError
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.runtime.progress import RunResult
from sage_kernel.spec import PipelineSpec
from sage_kernel.validation import from_dict, problems_of

RECORDS = [{"text": "hello", "n": 1, "tags": ["a", "b"]}, {"text": "", "n": 2, "tags": []}, {"text": "x", "n": 3}]
HERE = allow([f"{__name__}:*"])


def double(record: dict[str, Any]) -> dict[str, Any]:
    if record["n"] == 2:
        raise ValueError("two is unlucky")
    return {"double": record["n"] * 2}


def wrong(record: dict[str, Any]) -> dict[str, Any]:
    return {"doubel": record["n"]}


def double_all(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(double=pl.col("n") * 2)


def letters(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"letter": letter, "n": at} for at, letter in enumerate(record["text"])]


def is_odd(record: dict[str, Any]) -> bool:
    return bool(record["n"] % 2)


def pipeline(*nodes: dict[str, Any], records: list[dict[str, Any]] = RECORDS) -> dict[str, Any]:
    """A chain of the nodes behind a source, into ``collection:out``."""
    value: dict[str, Any] = {"source": {"op": "source", "records": records}}
    before = "source"
    for number, node in enumerate(nodes):
        before, value[f"n{number}"] = f"n{number}", {"in": [before], **node}
    value["sink"] = {"op": "sink", "in": [before], "uri": "collection:out"}
    return {"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": value}


async def run(*nodes: dict[str, Any], functions: FunctionRegistry = HERE, **more: Any) -> RunResult:
    models: Any = None
    return await LocalRunner(models, functions=functions).run(from_dict(pipeline(*nodes, **more)))


async def out(*nodes: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return (await run(*nodes, **more)).collections["out"]


def problems(*nodes: dict[str, Any]) -> str:
    with pytest.raises(PipelineInvalidError) as refusal:
        from_dict(pipeline(*nodes))
    return str(refusal.value)


async def test_a_map_adds_fields_that_all_see_the_record_as_it_came_in() -> None:
    records = await out({"op": "map", "fields": {"n": "n + 1", "was": "n", "kind": "'k'"}, "drop": ["tags"]})
    assert records[0] == {"text": "hello", "n": 2, "was": 1, "kind": "k"}


async def test_a_map_that_keeps_nothing_gives_its_fields_alone_constants_too() -> None:
    assert await out({"op": "map", "fields": {"k": "'k'", "one": "1"}, "keep": False}) == [{"k": "k", "one": 1}] * 3


async def test_a_function_gets_records_and_one_that_fails_goes_alone() -> None:
    node = {"op": "map", "ref": f"{__name__}:double", "out": {"double": "int"}, "drop": ["tags"], "on_error": "dlq"}
    result = await run(node)
    assert [record["double"] for record in result.collections["out"]] == [2, 6]
    assert [(letter.record["n"], letter.error) for letter in result.dead_letters] == [(2, "ValueError: two is unlucky")]


async def test_a_function_of_batches_is_called_with_frames() -> None:
    node = {"op": "map", "ref": f"{__name__}:double_all", "batch": True, "out": {"double": "float"}, "keep": False}
    assert await out(node) == [{"double": 2.0}, {"double": 4.0}, {"double": 6.0}]


async def test_a_function_that_gives_other_fields_fails_with_their_names() -> None:
    with pytest.raises(NodeFailedError, match="fields that 'out' lacks: doubel"):
        await run({"op": "map", "ref": f"{__name__}:wrong", "out": {"double": "int"}})


async def test_filters_take_a_condition_or_a_function() -> None:
    assert [record["n"] for record in await out({"op": "filter", "where": "LENGTH(text) - 1 > -1"})] == [1, 3]
    assert [record["n"] for record in await out({"op": "filter", "ref": f"{__name__}:is_odd"})] == [1, 3]


async def test_an_empty_list_gives_no_record() -> None:
    records = await out({"op": "flat_map", "explode": "tags"})
    assert [(record["n"], record["tags"]) for record in records] == [(1, "a"), (1, "b")]


@pytest.mark.parametrize("keep", [True, False])
async def test_a_function_may_make_many_records_of_one(keep: bool) -> None:
    node = {"op": "flat_map", "ref": f"{__name__}:letters", "out": {"letter": "string", "n": "int"}, "keep": keep}
    records = await out(node)
    assert [(record["letter"], record["n"]) for record in records] == [*zip("hello", range(5), strict=True), ("x", 0)]
    assert ("text" in records[0]) == keep


async def test_a_union_keeps_what_all_have_and_widens_numbers() -> None:
    value = pipeline()
    value["nodes"] |= {
        "other": {"op": "source", "records": [{"n": 0.5, "more": True}]},
        "both": {"op": "union", "in": ["source", "other"]},
        "sink": {"op": "sink", "in": ["both"], "uri": "collection:out"},
    }
    models: Any = None
    result = await LocalRunner(models).run(from_dict(value))
    assert sorted(record["n"] for record in result.collections["out"]) == [0.5, 1.0, 2.0, 3.0]
    assert set(result.collections["out"][0]) == {"n"}


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"op": "filter", "where": "n + 1"}, "field 'where': the condition is 'int', not true or false"),
        ({"op": "filter", "where": "text"}, "the condition is 'string'"),
        ({"op": "filter"}, "either 'where' or 'ref'"),
        ({"op": "map"}, "needs 'fields', 'ref' or 'drop'"),
        ({"op": "map", "fields": {"a": "textt"}}, "field 'fields.a': it reads field 'textt'"),
        ({"op": "map", "fields": {"a": "SUM(n)"}}, "field 'fields.a': SUM() at character 1 aggregates"),
        ({"op": "map", "drop": ["nn"]}, "it reads field 'nn'"),
        ({"op": "map", "ref": "a:b"}, "'ref' and 'out' belong together"),
        ({"op": "map", "ref": "os.system", "out": {"a": "int"}}, "'os.system' names no function"),
        ({"op": "flat_map", "explode": "text"}, "'text' is 'string', not a list"),
        ({"op": "flat_map", "explode": "tagz"}, "did you mean 'tags'?"),
        ({"op": "key_by", "fields": []}, "at least 1 item"),
        ({"op": "key_by", "fields": ["tags"]}, "'tags' is ['string'], which is no key"),
        ({"op": "key_by", "fields": "nn"}, "it reads field 'nn'"),
    ],
)
def test_what_cannot_run_is_said_before_it_runs(node: dict[str, Any], said: str) -> None:
    assert said in problems(node)


def test_a_union_of_types_that_nothing_holds_is_refused() -> None:
    value = pipeline()
    value["nodes"] |= {
        "other": {"op": "source", "records": [{"n": "one"}]},
        "both": {"op": "union", "in": ["source", "other"]},
        "sink": {"op": "sink", "in": ["both"], "uri": "collection:out"},
    }
    with pytest.raises(
        PipelineInvalidError, match="'n' is 'int' in one input and 'string' in another; CAST or drop it"
    ):
        from_dict(value)


def test_an_event_time_that_is_computed_anew_is_none() -> None:
    value = pipeline({"op": "map", "fields": {"ts": "ts + INTERVAL '1 day'"}}, records=[{"ts": "2024-01-01T00:00:00Z"}])
    value["nodes"]["source"] |= {"schema": {"ts": "timestamp"}, "event_time": "ts", "records": []}
    assert problems_of(from_dict(value)) == []


async def test_a_function_that_is_not_allowed_is_never_imported() -> None:
    node = {"op": "map", "ref": "no.such.module:double", "out": {"double": "int"}}
    with pytest.raises(NodeFailedError, match="is not allowed") as refusal:
        await run(node, functions=NO_FUNCTIONS)
    assert isinstance(refusal.value.cause, PermissionDeniedError)


async def test_a_function_of_this_process_runs_here_and_has_no_text() -> None:
    value = pipeline({"op": "map", "ref": lambda record: {"double": record["n"] * 2}, "out": {"double": "int"}})
    spec = from_dict(value)
    models: Any = None
    result = await LocalRunner(models).run(spec)
    assert [record["double"] for record in result.collections["out"]] == [2, 4, 6]
    assert spec.spec_hash == from_dict(value).spec_hash
    for export in (spec.to_yaml, spec.to_dict, spec.canonical_json):
        with pytest.raises(InvalidRequestError, match="runs 'local' and on 'ray' only; put it into a module"):
            export()


def test_a_function_named_in_text_is_only_a_name() -> None:
    spec = from_dict(pipeline({"op": "map", "ref": "shop.rules:price", "out": {"price": "float"}}))
    assert PipelineSpec.model_validate(spec.to_dict()) == spec
