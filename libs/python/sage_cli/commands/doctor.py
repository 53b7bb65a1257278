"""``sage doctor``."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check what SAGE needs on this machine, and say what to do about what is missing.

    Exit code 1 when something keeps SAGE from working.
    """
    from sage_cli.doctor import installation, mesh
    from sage_cli.doctor.finding import Check, Level
    from sage_cli.running import quiet_logs

    quiet_logs()
    checks: tuple[Check, ...] = (
        installation.python,
        installation.packages,
        installation.nats_server,
        installation.native,
        mesh.weights,
        mesh.configuration,
        mesh.ports,
        installation.disk,
    )
    findings = [finding for check in checks for finding in check()]
    if as_json:
        from dataclasses import asdict

        import orjson

        listed = [asdict(finding) for finding in findings]
        typer.echo(orjson.dumps(listed, option=orjson.OPT_INDENT_2).decode())
    else:
        from rich.text import Text

        from sage_cli.consoles import output

        console = output()
        colours = {Level.GOOD: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}
        for finding in findings:
            mark = (f"{finding.level.value:<8}", colours[finding.level])
            console.print(Text.assemble(mark, (f"{finding.subject}: ", "bold"), finding.detail), soft_wrap=True)
            if finding.remedy:
                console.print(Text(f"         → {finding.remedy}"), soft_wrap=True)
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise typer.Exit(1)
