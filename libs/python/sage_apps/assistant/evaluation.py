"""How often the assistant finds the right passage, and what its answers rest on, over conversations with labels."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sage_apps.assistant.assistant import AssistantOptions, DocumentAssistant, TurnEnded
from sage_apps.assistant.conversation import AssistantConversation, AssistantTurn
from sage_apps.assistant.labelled_conversations import (
    HELD_OUT,
    TUNING,
    LabelledConversation,
    LabelledTurn,
    read_conversations,
    without_numbers,
    words_of,
)
from sage_apps.assistant.rewriting import AsAsked, ByModel, ByRules, Rewriter
from sage_apps.assistant.sample import handbook_files, keep_sample
from sage_apps.evaluation_report import EvaluationReport, EvaluationTable, share
from sage_client.client import AsyncUnifiedInferenceClient
from sage_client.knowledge.knowledge_bases import KnowledgeBases
from sage_client.knowledge.knowledge_views import PassageView

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_CITED = re.compile(r"\[(\d+)\]")
_NEAR = 3


@dataclass(frozen=True, slots=True)
class SearchedTurn:
    """A question, and the rank of the first passage that answers it; None where none of those found does."""

    split: str
    labelled: LabelledTurn
    rank: int | None


@dataclass(frozen=True, slots=True)
class AnsweredTurn:
    """A question with what was answered."""

    split: str
    labelled: LabelledTurn
    turn: AssistantTurn

    @property
    def first_sentence(self) -> str:
        """The first sentence of the answer, without the numbers of sources."""
        return _SENTENCE_END.split(without_numbers(self.turn.answer).strip(), maxsplit=1)[0]

    @property
    def is_quoted(self) -> bool:
        """Whether the first sentence stands in a source word for word."""
        said = words_of(self.first_sentence)
        return bool(said) and any(said in words_of(one.text) for one in self.turn.sources)

    @property
    def names_a_source(self) -> bool:
        """Whether the answer names one of its sources by number, and none that is not there."""
        numbers = [int(one) for one in _CITED.findall(self.turn.answer)]
        return bool(numbers) and all(1 <= one <= len(self.turn.sources) for one in numbers)

    @property
    def rests_on_right_source(self) -> bool:
        """Whether a source that the first sentence names, or else the first source, is one that answers."""
        numbers = [int(one) for one in _CITED.findall(self.turn.answer)[:1]] or [1]
        sources = self.turn.sources
        return any(is_right(self.labelled, sources[one - 1]) for one in numbers if 1 <= one <= len(sources))


def is_right(labelled: LabelledTurn, passage: PassageView) -> bool:
    """Return whether a passage answers a question."""
    return passage.path == labelled.file and labelled.is_said_in(passage.text)


async def evaluate(
    knowledge: KnowledgeBases,
    client: AsyncUnifiedInferenceClient,
    options: AssistantOptions,
    rewriting_model: str | None = None,
    *,
    held_out_only: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> EvaluationReport:
    """Ask every conversation about the handbook, and return the figures.

    Args:
        rewriting_model: chat model whose wordings of follow-ups are measured, too.
        held_out_only: leave out the conversations that rules were chosen on.
        say: called with what begins.

    Raises:
        SageError: the mesh failed.
    """
    began = time.perf_counter()
    say("storing the handbook")
    name = await keep_sample(knowledge)
    conversations = [one for one in read_conversations() if one.split == HELD_OUT or not held_out_only]
    count = sum(len(one.turns) for one in conversations)
    say(f"answering {count} questions")
    assistant = DocumentAssistant(knowledge, client, name, ByRules(), options)
    answered = [one async for one in _answers(assistant, conversations)]
    ways: dict[str, Rewriter] = {"as asked": AsAsked(), "rules": ByRules()}
    if rewriting_model is not None:
        ways[f"worded by {rewriting_model}"] = ByModel(client, rewriting_model)
    ways["worded by a person"] = _ByHand(conversations)
    answers = {(one.labelled.asked, one.labelled.alone): one.turn.answer for one in answered}
    searched: dict[str, list[SearchedTurn]] = {}
    for way, rewriter in ways.items():
        say(f"searching: {way}")
        searched[way] = [one async for one in _searches(knowledge, name, rewriter, conversations, options, answers)]
    models = tuple(dict.fromkeys(one.turn.model for one in answered if one.turn.model))
    base = await knowledge.get(name)
    tuning = sum(one.split == TUNING for one in conversations)
    return EvaluationReport(
        "assistant",
        f"{count} questions in {len(conversations)} conversations about {len(handbook_files())} documents "
        f"({base.passages} passages)",
        (base.embedding_model, *models),
        time.perf_counter() - began,
        (*tables_of_searches(searched), *tables_of_answers(answered)),
        (f"rules were chosen on {tuning} of the conversations; those held out were asked only to measure",),
    )


def tables_of_searches(searched: Mapping[str, Sequence[SearchedTurn]]) -> list[EvaluationTable]:
    """Return how often the right passage is first, and among three, for each way to rewrite."""
    tables = []
    columns = ("", "first", "in three", "held out: first", "in three")
    for title, follows in (("that follow on", True), ("of their own", False)):
        rows = []
        for way, turns in searched.items():
            asked = [one for one in turns if one.labelled.file and one.labelled.follows == follows]
            held = [one for one in asked if one.split == HELD_OUT]
            rows.append((way, (*_near(asked), *_near(held))))
        count = sum(1 for one in next(iter(searched.values())) if one.labelled.file and one.labelled.follows == follows)
        tables.append(EvaluationTable(f"Right passage, {count} questions {title}", columns, tuple(rows)))
    return tables


def tables_of_answers(answered: Sequence[AnsweredTurn]) -> list[EvaluationTable]:
    """Return what answers say and rest on, and what is refused."""
    known = [one for one in answered if one.labelled.file]
    unknown = [one for one in answered if not one.labelled.file]
    figures: tuple[tuple[str, Callable[[AnsweredTurn], bool]], ...] = (
        ("the first sentence says it", lambda one: one.labelled.is_said_in(one.first_sentence)),
        ("the answer says it", lambda one: one.labelled.is_said_in(one.turn.answer)),
        ("the first sentence is quoted from a source", lambda one: one.is_quoted),
        ("names its sources by their numbers", lambda one: one.names_a_source),
        ("the first source that it names answers", lambda one: one.rests_on_right_source),
    )
    rows = []
    for name, holds in figures:
        held = [one for one in known if one.split == HELD_OUT]
        values = [share(sum(holds(one) for one in some), len(some)) for some in (known, held)]
        rows.append((name, tuple(values)))
    refused = [
        ("answered in the handbook", _refused_of(known)),
        ("not in the handbook", _refused_of(unknown)),
    ]
    columns = ("", "share", "questions", "held out: share", "questions")
    return [
        EvaluationTable(f"Answers to {len(known)} questions", ("", "share", "held out"), tuple(rows)),
        EvaluationTable('"Nothing relevant was found"', columns, tuple(refused)),
    ]


def _near(turns: Sequence[SearchedTurn]) -> tuple[float | None, float | None]:
    first = share(sum(one.rank == 1 for one in turns), len(turns))
    return first, share(sum(one.rank is not None and one.rank <= _NEAR for one in turns), len(turns))


def _refused_of(turns: Sequence[AnsweredTurn]) -> tuple[float | None, ...]:
    held = [one for one in turns if one.split == HELD_OUT]
    return (_refused(turns), float(len(turns)), _refused(held), float(len(held)))


def _refused(turns: Sequence[AnsweredTurn]) -> float | None:
    return share(sum(not one.turn.sources for one in turns), len(turns))


async def _answers(
    assistant: DocumentAssistant, conversations: Iterable[LabelledConversation]
) -> AsyncIterator[AnsweredTurn]:
    for conversation in conversations:
        said = AssistantConversation()
        for labelled in conversation.turns:
            async for event in assistant.ask(labelled.asked, said):
                if isinstance(event, TurnEnded):
                    yield AnsweredTurn(conversation.split, labelled, event.turn)


async def _searches(
    knowledge: KnowledgeBases,
    name: str,
    rewriter: Rewriter,
    conversations: Iterable[LabelledConversation],
    options: AssistantOptions,
    answers: Mapping[tuple[str, str], str],
) -> AsyncIterator[SearchedTurn]:
    for conversation in conversations:
        said = AssistantConversation()
        for labelled in conversation.turns:
            question = await rewriter.rewrite(labelled.asked, said)
            found = await knowledge.search(name, question, k=options.passages)
            ranks = (rank for rank, one in enumerate(found, start=1) if is_right(labelled, one))
            yield SearchedTurn(conversation.split, labelled, next(ranks, None))
            answer = answers.get((labelled.asked, labelled.alone), "")
            said.add(AssistantTurn(labelled.asked, question, answer, "", tuple(found)))


class _ByHand:
    """Takes the wording of a person, which is what rewriting can reach."""

    def __init__(self, conversations: Iterable[LabelledConversation]) -> None:
        self._turns = [conversation.turns for conversation in conversations]

    async def rewrite(self, asked: str, conversation: AssistantConversation) -> str:
        """Return the wording of the turn whose predecessors are those of the conversation."""
        before = [turn.asked for turn in conversation.turns]
        for turns in self._turns:
            if [one.asked for one in turns[: len(before)]] == before and len(turns) > len(before):
                labelled = turns[len(before)]
                if labelled.asked == asked:
                    return labelled.alone
        return asked
