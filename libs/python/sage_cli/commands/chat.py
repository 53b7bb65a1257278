"""``sage chat``."""

from __future__ import annotations

from typing import Annotated

import typer

from sage_cli.consoles import AsJson, Url


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chat)


def chat(
    prompt: Annotated[str | None, typer.Argument(help="What to ask; left out, a conversation begins.")] = None,
    model: Annotated[str | None, typer.Option(help="Model; left out, the mesh's own choice.")] = None,
    system: Annotated[str | None, typer.Option(help="Instructions for the model.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer.")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Ask once, or hold a conversation; the answer appears as it is made.

    In a conversation Ctrl-C stops the answer that is being written, and at the prompt it ends the conversation.
    """
    from sage_cli.conversation import ChatAsk, Conversation
    from sage_cli.running import quiet_logs
    from sage_cli.target import client_target
    from sage_cli.waiting import WaitDisplay
    from sage_client.sync_client import UnifiedInferenceClient

    quiet_logs()
    display = WaitDisplay("waiting for the first words")
    target = client_target(url)
    # The client's loop has a thread of its own: this one waits for the keyboard, and Ctrl-C comes to it.
    with UnifiedInferenceClient.create(target.url, api_key=target.api_key, on_wait=display.show) as client:
        conversation = Conversation(client, ChatAsk(model, system, max_tokens, as_json), display)
        if prompt is not None:
            conversation.ask(prompt)
        else:
            conversation.hold()
