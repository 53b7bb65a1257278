"""The ``sage`` command: where the subcommands meet, and where failures become messages and exit codes."""

from __future__ import annotations

import gc
import sys
from typing import Annotated

import typer

from sage_cli.commands_on_use import group_of
from sage_cli.port_offset import use_port_offset
from sage_common.errors import SageError
from sage_common.load_on_use import load_on_use
from sage_platform.process_tuning import settle_garbage_collector

_COMMANDS = {
    **{
        name: f"sage_cli.commands.{name}"
        for name in (
            "up", "status", "logs", "restart", "down", "chat", "embed", "rerank", "ask", "models", "explain", "trace",
            "usage", "studio", "doctor", "engine", "model", "policy", "pipeline", "job", "kb", "key", "batch", "tenant",
            "price",
            "config", "openapi",
        )
    },
    "app": "sage_cli.commands.applications",
    "bench": "sage_cli.bench",
    "mesh": "sage_cli.commands.mesh_security",
}  # fmt: skip

app = typer.Typer(
    name="sage",
    cls=group_of(_COMMANDS),
    help="SAGE: LLM and embedding engines as one service. Start with `sage up`, then `sage ask` or `sage chat`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"sage {version('sage-mesh')}")
        raise typer.Exit


@app.callback()
def _sage(
    port_offset: Annotated[
        int | None,
        typer.Option(metavar="N", help="Speak of the mesh whose ports are N above the well-known ones; see `sage up`."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    if port_offset is not None:
        use_port_offset(port_offset)


def main() -> None:
    """Run the command line. A SageError ends as its message on stderr and an exit code by its kind."""
    from sage_cli.exit_codes import EXIT_INTERRUPTED, EXIT_OS_ERROR, exit_code, explain_os_error

    # Imports leave nothing to collect; looking for it takes a twentieth of a command's start.
    gc.set_threshold(20_000, 50, 100)
    # Every command that reaches NATS would load it.
    load_on_use("aiohttp")
    # What a command imports stays: with the usual thresholds a tenth of its time goes into collecting it.
    settle_garbage_collector()
    try:
        app()
    except SageError as error:
        sys.stderr.write(f"sage: {error.message}\n")
        sys.exit(exit_code(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # The reader of our output, `head` for one, has closed it. Nothing more may be written, not even at exit.
            sys.stdout = None
            sys.exit(0)
        sys.stderr.write(f"sage: {explain_os_error(error)}\n")
        sys.exit(EXIT_OS_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
