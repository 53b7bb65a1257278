"""``sage app triage`` and ``sage app monitor`` over models that a test knows: rows, alerts, the outcome, and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from fixtures.word_models import WordModels
from typer.testing import CliRunner

from sage_apps import local_runs, pipelines
from sage_cli.applications import monitor, triage
from sage_kernel.model_port import ChatText
from sage_kernel.runtime.progress import RunResult
from sage_kernel.spec import PipelineSpec


class Models(WordModels):
    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        *,
        json_schema: Mapping[str, Any] | None = None,
        target_seconds: float | None = None,
    ) -> ChatText:
        return ChatText("This news is about snow in the north", "labeller")


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_spec(spec: PipelineSpec, runner: str = "local", **options: Any) -> RunResult:
        return await local_runs.run(spec, models=Models(), keeps_nothing=True, on_records=options["on_records"])

    monkeypatch.setattr(pipelines, "run_spec", run_spec)
    monkeypatch.setenv("SAGE_CLIENT_TARGET", "http://127.0.0.1:1")


def written(path: Path, *records: Mapping[str, object]) -> str:
    path.write_text("\n".join(json.dumps(one) for one in records))
    return f"jsonl:{path}"


def at(minute: int) -> str:
    return f"2026-03-02T09:{minute:02}:00Z"


@pytest.fixture
def tickets(tmp_path: Path) -> list[str]:
    resolved = tmp_path / "resolved.jsonl"
    written(resolved, {"category": "weather", "text": "snow"}, {"category": "garden", "text": "grass"})
    surge = [{"id": f"s{minute}", "at": at(minute), "text": "snow everywhere"} for minute in range(4)]
    source = written(tmp_path / "tickets.jsonl", *surge, {"id": "g", "at": at(30), "text": "green grass"}, {"id": "x"})
    return ["--source", source, "--resolved", str(resolved), "--alert", "3"]


def test_a_triage_prints_tickets_alerts_and_what_it_comes_to(tickets: list[str]) -> None:
    result = CliRunner().invoke(triage.app, tickets)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("snow everywhere") == 5
    assert "ALERT weather: too many tickets since" in result.stdout
    assert "incident: weather" in result.stdout
    assert "5 tickets" in result.stderr
    assert "1 failed, the first at 'incoming'" in result.stderr


def test_a_triage_is_a_document_for_programs(tickets: list[str]) -> None:
    result = CliRunner().invoke(triage.app, ["run", *tickets, "--json"])
    document = json.loads(result.stdout)
    assert [one["category"] for one in document["tickets"]].count("weather") == 4
    assert document["categories"][1] == {"category": "garden", "tickets": 1, "urgent": 0}
    assert [one["category"] for one in document["incidents"]] == ["weather"]
    assert len(document["failed"]) == 1


def test_a_monitor_prints_duplicates_and_topics(tmp_path: Path) -> None:
    articles = [
        {"id": f"a{number}", "at": at(number), "title": title, "text": ""}
        for number, title in enumerate(("snow falls", "more snow", "green grass"))
    ]
    source = written(tmp_path / "articles.jsonl", *articles)
    result = CliRunner().invoke(monitor.app, ["--source", source])
    assert result.exit_code == 0, result.output
    assert "1.00  more snow  =  snow falls" in result.stdout
    assert "snow  2 articles, first: snow falls" in result.stdout
    assert "3 articles, 1 pair of duplicates, 1 topic" in result.stderr
    document = json.loads(CliRunner().invoke(monitor.app, ["--source", source, "--json"]).stdout)
    assert (document["articles"], len(document["duplicates"])) == (3, 1)
    assert [(one["label"], one["articles"]) for one in document["groups"]] == [("snow", 2)]
