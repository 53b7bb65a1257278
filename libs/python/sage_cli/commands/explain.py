"""``sage explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sage_client.management.views import Explanation


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explain(
    request_id: Annotated[
        str, typer.Argument(help="Id from the reply's x-request-id header; one of your own explains all that have it.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what was decided about a request: queue, policy, engines considered, tries, times, why it was refused."""
    from sage_cli.consoles import output, print_json
    from sage_cli.explanation_text import explanation_text
    from sage_cli.running import run

    decisions = run(_explain(request_id))
    if as_json:
        print_json({"request_id": request_id, "decisions": decisions})
        return
    console = output()
    for number, decision in enumerate(decisions):
        if number:
            console.print()
        console.print(explanation_text(decision, console.width))


async def _explain(request_id: str) -> list[Explanation]:
    from sage_cli.target import management

    async with management() as mesh:
        return await mesh.explain(request_id)
