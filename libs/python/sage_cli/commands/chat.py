"""``sage chat``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sage_client.client import AsyncUnifiedInferenceClient


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chat)


def chat(
    prompt: Annotated[str | None, typer.Argument(help="What to ask; left out, a conversation begins.")] = None,
    model: Annotated[str | None, typer.Option(help="Model; left out, the mesh's own choice.")] = None,
    system: Annotated[str | None, typer.Option(help="Instructions for the model.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer.")] = None,
    url: Annotated[str | None, typer.Option(help="Gateway (http://…) or ring (nats://…).")] = None,
) -> None:
    """Ask once, or hold a conversation; the answer appears as it is made."""
    from sage_cli.running import run

    run(_chat(prompt, model, system, max_tokens, url))


async def _chat(
    prompt: str | None, model: str | None, system: str | None, max_tokens: int | None, url: str | None
) -> None:
    from sage_cli.target import client_target
    from sage_client.client import AsyncUnifiedInferenceClient

    messages = [{"role": "system", "content": system}] if system else []
    async with await AsyncUnifiedInferenceClient.create(client_target(url)) as client:
        if prompt is not None:
            await _answer(client, [*messages, {"role": "user", "content": prompt}], model, max_tokens)
            return
        await _converse(client, messages, model, max_tokens)


async def _converse(
    client: AsyncUnifiedInferenceClient, messages: list[dict[str, str]], model: str | None, max_tokens: int | None
) -> None:
    import asyncio
    import contextlib
    import sys

    from sage_cli.consoles import notes
    from sage_common.errors import SageError

    # Line editing and history for input().
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401
    interactive = sys.stdin.isatty()
    if interactive:
        notes().print("[dim]an empty line or Ctrl-D ends the conversation[/dim]")
    while True:
        try:
            said = await asyncio.to_thread(input, "> " if interactive else "")
        except EOFError:
            return
        if not said.strip():
            return
        messages.append({"role": "user", "content": said})
        try:
            text = await _answer(client, messages, model, max_tokens)
        except SageError as error:
            # One failed turn does not end a conversation; it can be asked again.
            notes().print(error.message, markup=False, style="red")
            messages.pop()
            continue
        messages.append({"role": "assistant", "content": text})


async def _answer(
    client: AsyncUnifiedInferenceClient, messages: list[dict[str, str]], model: str | None, max_tokens: int | None
) -> str:
    import sys

    text = ""
    async for piece in client.stream_chat(messages, model, max_tokens=max_tokens):
        text += piece.text
        sys.stdout.write(piece.text)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return text
