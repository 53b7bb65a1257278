"""``sage app assistant``: a conversation about the documents of a knowledge base."""

from __future__ import annotations

from typing import Annotated

import typer

from sage_cli.applications.run_by_default import RunByDefault
from sage_cli.consoles import AsJson, Url

app = typer.Typer(
    cls=RunByDefault,
    help="Ask a knowledge base, and go on asking. `sage app assistant --sample` tries it on documents that it brings.",
)

Model = Annotated[
    str | None,
    typer.Option(help="Chat model; left out, one that you have registered, else sage-extractive, which quotes."),
]
MinScore = Annotated[
    float, typer.Option(min=-1.0, max=1.0, help="Where no passage is as similar, nothing relevant was found.")
]


@app.command()
def run(
    question: Annotated[str | None, typer.Argument(help="What to ask; left out, a conversation begins.")] = None,
    kb: Annotated[str | None, typer.Option(metavar="NAME", help="Knowledge base; see `sage kb`.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Ask a library's handbook, which is stored first.")] = False,
    passages: Annotated[int, typer.Option("--passages", "-k", min=1, max=100, help="Passages given to the model.")] = 4,
    model: Model = None,
    rewrite: Annotated[
        str, typer.Option(help="How a follow-up becomes a question of its own: rules, model or none.")
    ] = "rules",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 256,
    min_score: MinScore = 0.2,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Ask once, or hold a conversation; the answer appears as it is made, then its sources.

    In a conversation Ctrl-C stops the answer that is being written, and at the prompt it ends the conversation.
    """
    from sage_apps.assistant.assistant import AssistantOptions
    from sage_cli.applications.assistant_session import AssistantAsk, assistant_session
    from sage_common.errors import InvalidRequestError

    if (kb is None) != sample:
        raise InvalidRequestError("name what to ask: either --kb NAME (`sage kb list`) or --sample")
    options = AssistantOptions(passages, min_score, max_tokens, model)
    with assistant_session(url, AssistantAsk(kb, rewrite, options, as_json)) as session:
        if question is not None:
            session.ask(question)
        else:
            session.hold()


@app.command()
def evaluate(
    model: Model = None,
    rewrite: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Measure follow-ups worded by this chat model, too.")
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Ask only the conversations that no rule was chosen on.")
    ] = False,
    min_score: MinScore = 0.2,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Measure how often the right passage is found, with and without rewriting, and what answers rest on."""
    from sage_apps.assistant.assistant import AssistantOptions
    from sage_apps.assistant.evaluation import evaluate as measure
    from sage_apps.evaluation_report import EvaluationReport
    from sage_cli.applications.mesh_access import open_mesh_access
    from sage_cli.applications.report_text import print_report
    from sage_cli.consoles import notes
    from sage_cli.running import run as run_async

    async def measured() -> EvaluationReport:
        async with open_mesh_access(url) as mesh:
            options = AssistantOptions(min_score=min_score, model=model)
            console = notes()
            return await measure(
                mesh.knowledge,
                mesh.client,
                options,
                rewrite,
                held_out_only=held_out,
                say=lambda step: console.print(step, markup=False, style="dim"),
            )

    print_report(run_async(measured()), as_json=as_json)
