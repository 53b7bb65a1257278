"""``sage pipeline``: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sage_cli.app import app
from sage_common.errors import SageError
from sage_kernel.problems import NodeFailedError, PipelineInvalidError

PIPELINE = """
apiVersion: sage/v1
kind: Pipeline
metadata: {name: words, version: 2}
nodes:
  texts: {op: source, records: [{text: "the ring"}, {text: "a way"}, {text: ""}]}
  long: {op: filter, in: [texts], where: "LENGTH(text) > 0"}
  words: {op: map, in: [long], fields: {words: "STRING_TO_ARRAY(text, ' ')"}, keep: false}
  out: {op: sink, in: [words], uri: "collection:words"}
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SAGE_", "XDG_"))]:
        monkeypatch.delenv(name)
    for kind in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    monkeypatch.setenv("COLUMNS", "80")


def sage(*arguments: str, pipeline: str = PIPELINE) -> Result:
    return CliRunner().invoke(app, ["pipeline", *arguments], input=pipeline)


def records(result: Result) -> list[object]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_valid_pipeline_is_said_to_be_so() -> None:
    result = sage("validate", "-")
    assert result.exit_code == 0
    assert "words version 2: 4 nodes, valid" in result.stdout
    assert json.loads(sage("validate", "-", "--json").stdout)["valid"] is True


def test_every_problem_is_printed_and_the_end_is_one() -> None:
    wrong = PIPELINE.replace("LENGTH(text) > 0", "LENGTH(text)").replace("STRING_TO_ARRAY(text", "STRING_TO_ARRAY(txt")
    result = sage("validate", "-", pipeline=wrong)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("node 'long', field 'where': the condition is 'int'")
    assert "did you mean 'text'?" in lines[1]
    value = json.loads(sage("validate", "-", "--json", pipeline=wrong).stdout)
    assert [problem["node"] for problem in value["problems"]] == ["long", "words"]


def test_models_functions_and_runners_are_checked_where_they_are_named() -> None:
    asks = PIPELINE.replace("{op: filter, in: [texts], where", "{op: embed, in: [texts], model: minilmm, into: v, text")
    asks = asks.replace('"LENGTH(text) > 0"', '"{text}"')
    assert sage("validate", "-", pipeline=asks).exit_code == 0
    result = sage("validate", "-", "--model", "minilm", "--target", "mesh", pipeline=asks)
    assert result.exit_code == 1
    assert "did you mean 'minilm'?" in result.stdout
    calls = PIPELINE.replace('where: "LENGTH(text) > 0"', "ref: shop.rules:good")
    assert sage("validate", "-", "--allow", "shop.*:*", pipeline=calls).exit_code == 0
    assert sage("validate", "-", "--allow", "other:*", pipeline=calls).exit_code == 1


def test_a_run_prints_records_and_nothing_else_on_stdout() -> None:
    result = sage("run", "-")
    assert result.exit_code == 0
    assert records(result) == [{"words": ["the", "ring"]}, {"words": ["a", "way"]}]
    assert len(records(sage("run", "-", "--limit", "1"))) == 1


def test_a_run_is_one_document_for_programs() -> None:
    value = json.loads(sage("run", "-", "--json").stdout)
    assert value["collections"]["words"] == [{"words": ["the", "ring"]}, {"words": ["a", "way"]}]
    assert value["counts"]["long"]["records_out"] == 2


def test_several_collections_are_told_apart() -> None:
    more = PIPELINE + '  all: {op: sink, in: [texts], uri: "collection:all"}\n'
    assert {"collection": "all", "text": ""} in records(sage("run", "-", pipeline=more))


def test_records_that_fail_are_counted_on_stderr() -> None:
    wrong = PIPELINE.replace('"LENGTH(text) > 0"', '"CAST(text AS INT) > 0", on_error: dlq')
    result = sage("run", "-", pipeline=wrong)
    assert result.exit_code == 0
    assert "long: 3 records failed, first: " in result.stderr


@pytest.mark.parametrize(
    ("pipeline", "error"),
    [
        (PIPELINE.replace("text) > 0", "txt) > 0"), PipelineInvalidError),
        (PIPELINE.replace("LENGTH(text) > 0", "CAST(text AS INT) > 0"), NodeFailedError),
        (PIPELINE.replace('where: "LENGTH(text) > 0"', "ref: os:getenv"), PipelineInvalidError),
    ],
)
def test_a_run_that_cannot_be_or_fails_is_an_error(pipeline: str, error: type[SageError]) -> None:
    result = sage("run", "-", pipeline=pipeline)
    assert isinstance(result.exception, error)
    assert result.stdout == ""


def test_an_unknown_runner_names_the_nearest() -> None:
    assert "did you mean 'local'?" in str(sage("run", "-", "--runner", "locall").exception)


def test_a_drawing_goes_to_a_file_or_to_stdout(tmp_path: Path) -> None:
    assert sage("plot", "-").stdout.startswith("flowchart LR")
    target = tmp_path / "dag.svg"
    assert sage("plot", "-", "-o", str(target)).stdout == f"{target}\n"
    assert target.read_text(encoding="utf-8").startswith("<svg")


def test_the_schema_is_json() -> None:
    assert "$defs" in json.loads(sage("schema").stdout)


def test_a_run_on_the_mesh_without_one_says_where_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_CLIENT_TARGET", "http://127.0.0.1:9")
    result = sage("run", "-", "--runner", "mesh")
    assert isinstance(result.exception, SageError)
    assert "127.0.0.1:9" in str(result.exception)


def test_an_empty_file_is_said_to_be_empty() -> None:
    assert "pipeline: it is empty, expected a mapping" in sage("validate", "-", pipeline="").stdout
