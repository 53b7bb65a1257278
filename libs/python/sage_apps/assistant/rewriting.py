"""Ways to make a follow-up a question of its own: not at all, by rules, or by a chat model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sage_apps.assistant.conversation import AssistantConversation
from sage_apps.assistant.follow_up import follows_on, on_its_own
from sage_client.client import AsyncUnifiedInferenceClient
from sage_common.config import nearest
from sage_common.errors import InvalidRequestError

# Of the conversation, a model reads so much.
_READ_TURNS = 2
_READ_CHARACTERS = 300
_MAX_TOKENS = 60
_SYSTEM = (
    "Rewrite the last question so that it can be understood without the conversation. "
    "Write the question and nothing else."
)
# A small model has to be shown what is meant.
_SHOWN = (
    ("Question: How do I open an account?\nLast question: And how do I close it?", "How do I close an account?"),
    ("Question: Where can I park a car?\nLast question: What about a lorry?", "Where can I park a lorry?"),
)


class Rewriter(Protocol):
    """Makes a question of its own of what was asked."""

    async def rewrite(self, asked: str, conversation: AssistantConversation) -> str:
        """Return the question to search by; ``asked`` itself where it needs nothing of the conversation."""
        ...


class AsAsked:
    """Searches by what was typed."""

    async def rewrite(self, asked: str, conversation: AssistantConversation) -> str:
        """Return ``asked``."""
        return asked


class ByRules:
    """Adds what the conversation is about to a question that follows on it; see ``follow_up``."""

    async def rewrite(self, asked: str, conversation: AssistantConversation) -> str:
        """Return the question."""
        return on_its_own(asked, [turn.question for turn in conversation.turns])


class ByModel:
    """Lets a chat model word a question that follows on. A small one often words another question."""

    def __init__(self, client: AsyncUnifiedInferenceClient, model: str | None) -> None:
        self._client = client
        self._model = model

    async def rewrite(self, asked: str, conversation: AssistantConversation) -> str:
        """Return the question; by the rules where the model wrote none. Raises SageError: the model failed."""
        turns = conversation.turns[-_READ_TURNS:]
        if not turns or not follows_on(asked):
            return asked
        said = "\n".join(f"Question: {turn.question}\nAnswer: {_short(turn.answer)}" for turn in turns)
        messages: list[Mapping[str, str]] = [{"role": "system", "content": _SYSTEM}]
        for shown, written in _SHOWN:
            messages += [{"role": "user", "content": shown}, {"role": "assistant", "content": written}]
        messages.append({"role": "user", "content": f"{said}\nLast question: {asked}"})
        answer = await self._client.chat(messages, self._model, max_tokens=_MAX_TOKENS, temperature=0)
        written = next((line.strip() for line in answer.text.splitlines() if line.strip()), "")
        return written.removeprefix("Question:").strip() or on_its_own(asked, [turn.question for turn in turns])


REWRITING = ("rules", "model", "none")


def rewriter_of(name: str, client: AsyncUnifiedInferenceClient, model: str | None) -> Rewriter:
    """Return the rewriter of a name. Raises InvalidRequestError: there is none."""
    if name == "rules":
        return ByRules()
    if name == "none":
        return AsAsked()
    if name == "model":
        return ByModel(client, model)
    raise InvalidRequestError(
        f"there is no rewriting {name!r}{nearest(name, REWRITING)}; take one of {', '.join(REWRITING)}"
    )


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _READ_CHARACTERS else f"{text[:_READ_CHARACTERS].rstrip()}…"
