"""A conversation with the document assistant in the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sage_apps.assistant.assistant import (
    AnswerPiece,
    AssistantOptions,
    DocumentAssistant,
    QuestionTaken,
    SourcesFound,
    TurnEnded,
)
from sage_apps.assistant.conversation import AssistantConversation, AssistantTurn
from sage_cli.answer_writer import answer_writer
from sage_cli.applications.mesh_access import MeshAccess, open_mesh_access
from sage_cli.consoles import notes, output, print_json_line
from sage_cli.prompt_loop import ask_until_left
from sage_cli.running import quiet_logs
from sage_cli.waiting import WaitDisplay
from sage_client.loop_thread import LoopThread

if TYPE_CHECKING:
    from sage_client.knowledge.knowledge_views import PassageView

HELP = """\
/sources       the sources of the last answer, whole
/clear         forget what was said so far
/help          show this
Ctrl-C         while an answer is written: stop it; at the prompt: leave, as an empty line and Ctrl-D do"""


@dataclass(frozen=True, slots=True)
class AssistantAsk:
    """What holds for every question of a session.

    Attributes:
        knowledge_base: None for the documents that come with the assistant.
        rewrite: name of the way follow-ups are rewritten.
    """

    knowledge_base: str | None
    rewrite: str
    options: AssistantOptions
    as_json: bool


@contextlib.contextmanager
def assistant_session(url: str | None, ask: AssistantAsk) -> Iterator[AssistantSession]:
    """Open the mesh, in a thread of its own: this one waits for the keyboard, and Ctrl-C comes to it."""
    quiet_logs()
    display = WaitDisplay("looking for passages")
    loop = LoopThread("sage-assistant")
    opened: contextlib.AbstractAsyncContextManager[MeshAccess] = open_mesh_access(url, display.show)
    try:
        # The first time the documents that come with it are embedded.
        display.begin()
        mesh = loop.call(opened.__aenter__())
        try:
            session = loop.call(_session(mesh, ask, display, loop))
            display.end()
            yield session
        finally:
            loop.call(opened.__aexit__(None, None, None))
    finally:
        display.end()
        loop.stop()


async def _session(mesh: MeshAccess, ask: AssistantAsk, display: WaitDisplay, loop: LoopThread) -> AssistantSession:
    from sage_apps.assistant.rewriting import rewriter_of
    from sage_apps.assistant.sample import keep_sample

    rewriter = rewriter_of(ask.rewrite, mesh.client, ask.options.model)
    if ask.knowledge_base is None:
        name = await keep_sample(mesh.knowledge)
    else:
        name = (await mesh.knowledge.get(ask.knowledge_base)).name
    return AssistantSession(
        DocumentAssistant(mesh.knowledge, mesh.client, name, rewriter, ask.options), ask, display, loop
    )


class AssistantSession:
    """Asks what is typed, and prints answers with their sources."""

    def __init__(self, assistant: DocumentAssistant, ask: AssistantAsk, display: WaitDisplay, loop: LoopThread) -> None:
        self._assistant = assistant
        self._as_json = ask.as_json
        self._display = display
        self._loop = loop
        self._conversation = AssistantConversation()

    def ask(self, asked: str) -> None:
        """Print the answer as it is made. Raises SageError."""
        self._display.begin()
        writer = answer_writer()
        writing = False
        try:
            # Closed here: a Ctrl-C must stop the answer now, and not when the generator is collected.
            with contextlib.closing(self._loop.iterate(self._assistant.ask(asked, self._conversation))) as events:
                for event in events:
                    if self._as_json:
                        if isinstance(event, TurnEnded):
                            self._display.end()
                            print_json_line(_as_json(event.turn))
                    elif isinstance(event, QuestionTaken) and event.question != asked.strip():
                        self._display.end()
                        notes().print(f"searched: {event.question}", markup=False, style="dim")
                    elif isinstance(event, SourcesFound):
                        self._display.end()
                    elif isinstance(event, AnswerPiece):
                        writing = True
                        writer.write(event.text)
                    elif isinstance(event, TurnEnded):
                        writer.end()
                        writing = False
                        _show_sources(event.turn)
        finally:
            self._display.end()
            if writing:
                writer.end()

    def hold(self) -> None:
        """Ask what is typed, until an empty line, Ctrl-D, or Ctrl-C at the prompt."""
        ask_until_left(self._turn)

    def _turn(self, said: str) -> None:
        if not said.startswith("/"):
            self.ask(said)
            return
        command = said[1:].partition(" ")[0]
        if command == "clear":
            self._conversation.clear()
            notes().print("forgotten", style="dim")
        elif command == "sources":
            last = self._conversation.last
            _show_texts(last.sources if last else ())
        elif command == "help":
            notes().print(HELP, markup=False)
        else:
            notes().print(f"no command /{command}\n{HELP}", markup=False)


def _as_json(turn: AssistantTurn) -> dict[str, Any]:
    return {
        "asked": turn.asked,
        "question": turn.question,
        "answer": turn.answer,
        "model": turn.model,
        "sources": [
            {
                "number": number,
                "place": one.place,
                "path": one.path,
                "line": one.line,
                "end_line": one.end_line,
                "page": one.page,
                "heading": one.heading,
                "score": one.score,
                "text": one.text,
            }
            for number, one in enumerate(turn.sources, start=1)
        ],
        "seconds": turn.seconds,
    }


def _show_sources(turn: AssistantTurn) -> None:
    from rich.text import Text

    console = output()
    for number, one in enumerate(turn.sources, start=1):
        console.print(Text.assemble((f"[{number}] ", "bold"), (one.place, "cyan"), f"  {one.heading}"))
    notes().print(f"{turn.model or 'no model was asked'}, {turn.seconds:.1f} s", markup=False, style="dim")


def _show_texts(sources: tuple[PassageView, ...]) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console = output()
    for number, one in enumerate(sources, start=1):
        score = f"{one.score:.3f}" if one.score is not None else "words"
        console.print(Text.assemble((f"[{number}] ", "bold"), f"{score}  ", (one.place, "cyan"), f"  {one.heading}"))
        console.print(Padding(Text(one.text.strip(), style="dim"), (0, 0, 1, 4), expand=False))
    if not sources:
        notes().print("no source yet; ask something", markup=False)
