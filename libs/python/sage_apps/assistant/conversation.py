"""What was said in a conversation, as far back as it is kept."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from sage_client.knowledge.knowledge_views import PassageView

DEFAULT_TURNS = 8


@dataclass(frozen=True, slots=True)
class AssistantTurn:
    """A question with its answer.

    Attributes:
        asked: as it was typed.
        question: the same as a question of its own, which passages were searched by.
        answer: what was answered; that nothing was found where that is so.
        model: that answered; empty where none was asked.
        sources: the passages that the model was given; ``[n]`` in the answer is the n-th.
        seconds: from the question to the end of the answer.
    """

    asked: str
    question: str
    answer: str
    model: str
    sources: tuple[PassageView, ...]
    seconds: float = 0.0


class AssistantConversation:
    """The latest turns of one conversation.

    Args:
        most_turns: how many are kept; older ones are forgotten.
    """

    def __init__(self, most_turns: int = DEFAULT_TURNS) -> None:
        self._turns: deque[AssistantTurn] = deque(maxlen=most_turns)

    @property
    def turns(self) -> tuple[AssistantTurn, ...]:
        """The turns, oldest first."""
        return tuple(self._turns)

    @property
    def last(self) -> AssistantTurn | None:
        """The latest turn; None where nothing was said."""
        return self._turns[-1] if self._turns else None

    def add(self, turn: AssistantTurn) -> None:
        """Remember a turn."""
        self._turns.append(turn)

    def clear(self) -> None:
        """Forget everything."""
        self._turns.clear()
