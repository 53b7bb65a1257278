"""``run`` need not be written."""

from __future__ import annotations

import typer
from typer.testing import CliRunner

from sage_cli.applications.run_by_default import RunByDefault


def test_what_is_no_command_is_given_to_run() -> None:
    app = typer.Typer(cls=RunByDefault)
    app.command("run")(lambda question="": typer.echo(f"run {question}"))
    app.command("evaluate")(lambda: typer.echo("evaluate"))

    def said(*arguments: str) -> str:
        return CliRunner().invoke(app, arguments).output.strip()

    assert said() == "run"
    assert said("--question", "why?") == "run why?"
    assert said("run", "--question", "why?") == "run why?"
    assert said("evaluate") == "evaluate"
    assert "evaluate" in said("--help")
