"""The ``sage-dev`` command: what contributors would do by hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from sage_common.errors import SageError, UnprocessableError
from sage_tools.checkout import checkout
from sage_tools.scaffold.addition import Addition, run_python

EXIT_FAILED = 1

app = typer.Typer(
    name="sage-dev",
    help="Work on SAGE itself, in a checkout of its repository.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Check = Annotated[bool, typer.Option("--check", help="Write nothing; exit with 1 where something is stale.")]


class Kind(str, Enum):
    """What `sage-dev new` makes."""

    OPERATOR = "operator"
    POLICY = "policy"
    ENGINE = "engine"
    SERVICE = "service"


@app.command()
def new(
    kind: Annotated[Kind, typer.Argument(help="What to make.")],
    name: Annotated[str, typer.Argument(help="Its name, as in shortest_first.")],
) -> None:
    """Make a new operator, policy, engine or service that passes every check, with its tests, registered."""
    root = checkout(Path.cwd())
    addition = addition_of(kind, root, name)
    addition.apply(root)
    for path in (*addition.files, *addition.texts):
        typer.echo(f"new      {path}")
    for path in (*addition.edits, *addition.generated):
        typer.echo(f"changed  {path}")
    typer.echo("\nIt works and passes every check as it is. What is left:", err=True)
    for step in addition.next_steps:
        typer.echo(f"- {step}", err=True)


@app.command()
def stubs(check: Check = False) -> None:
    """Generate the protobuf and gRPC stubs again, after a change below proto/."""
    run_python(checkout(Path.cwd()), ["-m", "sage_tools.stubs", *(["--check"] if check else [])])


@app.command()
def pages(check: Check = False) -> None:
    """Write what documents list of operators and metrics, after a change of one."""
    root = checkout(Path.cwd())
    run_python(root, ["-m", "sage_tools.operator_reference", *(["--check"] if check else [])])
    run_python(root, ["-m", "sage_tools.metrics_page", *(["--check"] if check else [])])


@app.command(name="layers")
def show_layers(
    mermaid: Annotated[bool, typer.Option("--mermaid", help="As a Mermaid flowchart, for Markdown.")] = False,
) -> None:
    """Show the layers of the packages, the highest first: each imports only what is below it."""
    from sage_tools.layers import as_mermaid, as_text, layers

    found = layers(checkout(Path.cwd()))
    typer.echo(as_mermaid(found) if mermaid else as_text(found))


@app.command()
def changelog(
    release: Annotated[bool, typer.Option("--release", help="Ask for the section of the packages' version.")] = False,
) -> None:
    """Check the shape of CHANGELOG.md, and that all packages have one version."""
    from sage_tools.changelog import problems_of
    from sage_tools.checkout import common_version

    root = checkout(Path.cwd())
    version = common_version(root)
    problems = problems_of((root / "CHANGELOG.md").read_text(encoding="utf-8"), version if release else "")
    if problems:
        raise UnprocessableError("CHANGELOG.md\n" + "\n".join(problems))
    typer.echo(f"CHANGELOG.md is in order; the packages are {version}")


@app.command()
def release(
    images: Annotated[bool, typer.Option("--images", help="The container images too; needs a Docker engine.")] = False,
    only: Annotated[list[str] | None, typer.Option(metavar="FOLDER", help="This project alone.")] = None,
) -> None:
    """Build all wheels, and sdists of the libraries, into build/release; publish nothing."""
    from sage_tools.release import build_release

    root = checkout(Path.cwd())
    built = build_release(root, lambda text: typer.echo(text, err=True), images=images, only=only or ())
    for path in built:
        typer.echo(f"{path.stat().st_size:>12,}  {path.relative_to(root)}")


def addition_of(kind: Kind, root: Path, name: str) -> Addition:
    """Return what `sage-dev new KIND NAME` adds. Raises InvalidRequestError, ConflictError."""
    from sage_tools.scaffold.new_engine import engine
    from sage_tools.scaffold.new_operator import operator
    from sage_tools.scaffold.new_policy import policy
    from sage_tools.scaffold.new_service import service

    makers: dict[Kind, Callable[[Path, str], Addition]] = {
        Kind.OPERATOR: operator,
        Kind.POLICY: policy,
        Kind.ENGINE: engine,
        Kind.SERVICE: service,
    }
    return makers[kind](root, name)


def main() -> None:
    """Run the command; a failure ends it as a message and exit code 1."""
    try:
        app()
    except SageError as error:
        sys.stderr.write(f"sage-dev: {error.message}\n")
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        # Whoever read the output has enough; nothing more may be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
