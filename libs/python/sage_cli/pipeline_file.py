"""The text of a pipeline file, or of the standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sage_common.errors import NotFoundError

PipelineFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="Pipeline file, YAML or JSON; `-` reads the standard input.")
]


def read_pipeline(path: Path) -> str:
    """Return the text. Raises NotFoundError where it cannot be read."""
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise NotFoundError(f"cannot read the pipeline {path}: {reason}") from None
