"""``sage openapi``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(openapi)


def openapi(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as it does in any case.")] = False,
) -> None:
    """Write what the gateway serves as an OpenAPI 3.1 document; a gateway answers `/openapi.json` with the same."""
    from sage_common.errors import ConfigurationError

    try:
        from sage_gateway.openapi.served import document_json
    except ImportError as error:
        raise ConfigurationError(
            f"the gateway is not installed here ({error}); read /openapi.json of one that runs, or install sage-gateway"
        ) from None
    sys.stdout.buffer.write(document_json() + b"\n")
    sys.stdout.buffer.flush()
