"""A conversation in the terminal: one answer at a time, and a few commands between them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

from sage_cli.answer_writer import answer_writer
from sage_cli.consoles import notes, print_json_line
from sage_cli.prompt_loop import ask_until_left
from sage_cli.waiting import WaitDisplay
from sage_client.sync_client import UnifiedInferenceClient
from sage_control_plane.request.request import RequestKind

HELP = """\
/model         list the models
/model NAME    go on with another model
/clear         forget what was said so far
/help          show this
Ctrl-C         while an answer is written: stop it; at the prompt: leave, as an empty line and Ctrl-D do"""


@dataclass(frozen=True)
class ChatAsk:
    """What holds for every question of a conversation; None leaves it to the mesh."""

    model: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    as_json: bool = False


class Conversation:
    """Asks a client, and remembers what was said.

    Args:
        display: where it says on stderr for whom it waits.
    """

    def __init__(self, client: UnifiedInferenceClient, ask: ChatAsk, display: WaitDisplay) -> None:
        self._client = client
        self._ask = ask
        self._display = display
        self._messages: list[dict[str, str]] = []
        self.clear()

    def clear(self) -> None:
        """Forget what was said."""
        self._messages = [{"role": "system", "content": self._ask.system}] if self._ask.system else []

    def ask(self, said: str) -> None:
        """Print the answer as it is made. What came before a failure or Ctrl-C is remembered."""
        messages = [*self._messages, {"role": "user", "content": said}]
        pieces: list[str] = []
        try:
            self._print_answer(messages, pieces)
        finally:
            if pieces:
                self._messages = [*messages, {"role": "assistant", "content": "".join(pieces)}]

    def hold(self) -> None:
        """Ask what is typed, until an empty line, Ctrl-D, or Ctrl-C at the prompt."""
        ask_until_left(self._turn)

    def _turn(self, said: str) -> None:
        if not said.startswith("/"):
            self.ask(said)
            return
        command, _, argument = said[1:].partition(" ")
        if command == "clear":
            self.clear()
            notes().print("forgotten", style="dim")
        elif command == "model":
            self._model(argument.strip())
        elif command == "help":
            notes().print(HELP, markup=False)
        else:
            notes().print(f"no command /{command}\n{HELP}", markup=False)

    def _model(self, name: str) -> None:
        # A server that is no SAGE does not say what its models can do.
        models = [model for model in self._client.models() if RequestKind.LLM_CHAT in model.kinds or not model.kinds]
        names = [name for model in models for name in (model.id, *model.aliases)]
        if not name:
            for model in models:
                mark = "*" if self._ask.model in (model.id, *model.aliases) else " "
                notes().print(f"{mark} {model.id}", markup=False)
        elif name in names:
            self._ask = replace(self._ask, model=name)
            notes().print(f"from now on: {name}", style="dim", markup=False)
        else:
            notes().print(f"no model {name!r}; there are {', '.join(names)}", markup=False, style="red")

    def _print_answer(self, messages: list[dict[str, str]], pieces: list[str]) -> None:
        ask = self._ask
        writer = answer_writer()
        self._display.begin()
        try:
            if ask.as_json:
                pieces.append(self._print_json(messages))
                return
            # Closed here: a Ctrl-C must stop the answer now, and not when the generator is collected.
            with contextlib.closing(self._client.stream_chat(messages, ask.model, max_tokens=ask.max_tokens)) as answer:
                for piece in answer:
                    self._display.end()
                    pieces.append(piece.text)
                    writer.write(piece.text)
        finally:
            self._display.end()
            if pieces and not ask.as_json:
                writer.end()

    def _print_json(self, messages: list[dict[str, str]]) -> str:
        result = self._client.chat(messages, self._ask.model, max_tokens=self._ask.max_tokens)
        self._display.end()
        print_json_line(
            {
                "text": result.text,
                "model": result.model,
                "finish_reason": result.finish_reason,
                "usage": result.raw.get("usage"),
                "engine": result.engine,
                "request_id": result.request_id,
                "queue_ms": result.queue_ms,
                "attempts": result.attempts,
            }
        )
        return result.text
