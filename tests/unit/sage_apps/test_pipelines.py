"""Running a pipeline from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sage
from sage_common.errors import InvalidRequestError, PermissionDeniedError
from sage_kernel.problems import NodeFailedError, PipelineInvalidError


@pytest.fixture(autouse=True)
def _private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def doubled(record: dict[str, Any]) -> dict[str, Any]:
    return {"twice": record["n"] * 2}


def numbers() -> tuple[sage.Pipeline, Any]:
    pipeline = sage.Pipeline("numbers")
    return pipeline, pipeline.source(records=[{"n": 1}, {"n": 2}, {"n": 3}])


def test_a_pipeline_of_scalars_and_functions_runs_here_without_a_mesh() -> None:
    pipeline, stream = numbers()
    stream.filter("n <> 2").map(lambda record: {"twice": record["n"] * 2}, out={"twice": "int"}).sink("collection:out")
    assert pipeline.run().collections["out"] == [{"n": 1, "twice": 2}, {"n": 3, "twice": 6}]


def test_aggregates_are_exported_by_name() -> None:
    pipeline, stream = numbers()
    stream.aggregate(n=sage.count(), total=sage.sum_("n"), most=sage.max_("n * 2")).sink("collection:out")
    assert pipeline.run("local").collections["out"] == [{"n": 3, "total": 6, "most": 6}]


def test_a_named_function_has_to_be_allowed() -> None:
    pipeline, stream = numbers()
    stream.map(ref=f"{__name__}:doubled", out={"twice": "int"}, keep=False).sink("collection:out")
    with pytest.raises(NodeFailedError) as refusal:
        pipeline.run()
    assert isinstance(refusal.value.cause, PermissionDeniedError)
    assert pipeline.run(functions=[f"{__name__}:*"]).collections["out"][0] == {"twice": 2}


def test_an_unknown_runner_is_refused_with_the_nearest() -> None:
    pipeline, stream = numbers()
    stream.sink("collection:out")
    with pytest.raises(InvalidRequestError, match="did you mean 'local'"):
        pipeline.run("locale")


def test_a_pipeline_that_is_wrong_does_not_run() -> None:
    pipeline, stream = numbers()
    stream.filter("m > 1").sink("collection:out")
    with pytest.raises(PipelineInvalidError, match="it reads field 'm'"):
        pipeline.run()


async def test_in_an_event_loop_the_asynchronous_form_runs() -> None:
    pipeline, stream = numbers()
    stream.sink("collection:out")
    with pytest.raises(InvalidRequestError, match="run_async"):
        pipeline.run()
    assert len((await pipeline.run_async()).collections["out"]) == 3
