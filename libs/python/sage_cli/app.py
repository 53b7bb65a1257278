"""The ``sage`` command: where the subcommands meet, and where failures become messages and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sage_cli import bench
from sage_cli.commands import (
    ask,
    chat,
    config,
    doctor,
    down,
    embed,
    engine,
    explain,
    job,
    kb,
    key,
    logs,
    models,
    pipeline,
    policy,
    price,
    rerank,
    status,
    tenant,
    up,
    usage,
)
from sage_cli.port_offset import use_port_offset
from sage_common.errors import SageError
from sage_common.load_on_use import load_on_use
from sage_platform.process_tuning import settle_garbage_collector

app = typer.Typer(
    name="sage",
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


for command in (up, status, logs, down, chat, embed, rerank, ask, models, explain, usage, doctor):
    command.register(app)
app.add_typer(engine.app, name="engine")
app.add_typer(policy.app, name="policy")
app.add_typer(pipeline.app, name="pipeline")
app.add_typer(job.app, name="job")
app.add_typer(kb.app, name="kb")
app.add_typer(key.app, name="key")
app.add_typer(tenant.app, name="tenant")
app.add_typer(price.app, name="price")
app.add_typer(config.app, name="config")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the command line. A SageError ends as its message on stderr and an exit code by its kind."""
    from sage_cli.exit_codes import EXIT_INTERRUPTED, EXIT_OS_ERROR, exit_code, explain_os_error

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
