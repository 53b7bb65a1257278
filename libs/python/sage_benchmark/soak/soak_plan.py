"""How much load a soak is, and what is asked at once. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Work(Enum):
    """What is asked for, by what becomes of it when a process dies.

    An answer of ``CHAT``, ``COMPLETION`` and ``EMBEDDING`` survives every death but that of the gateway that its client
    is connected with. ``GUIDED`` is a stream that no other engine can continue: one that has begun ends in a clear
    error when its engine, or the engine's coordinator, dies. ``BATCH_LINE`` and ``JOB_RECORD`` survive every death.
    """

    CHAT = "streamed chat"
    GUIDED = "streamed chat, guided"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    BATCH_LINE = "line of a batch"
    JOB_RECORD = "record of a pipeline"


@dataclass(frozen=True)
class SoakPlan:
    """A soak.

    Attributes:
        seconds: how long there is load.
        kill_seconds: between two kills.
        chats, guided, completions, embeddings: asked in a second.
        tokens: least and most of an answer.
        batch_lines, job_records: of one batch file and one pipeline job; each is followed by another.
        answer_seconds: after which an answer counts as hung.
        work_seconds: the same of a batch or a job.
        seed: of everything that is drawn.
    """

    seconds: float = 1800.0
    kill_seconds: float = 10.0
    chats: float = 1.2
    guided: float = 0.3
    completions: float = 0.6
    embeddings: float = 1.0
    tokens: tuple[int, int] = (20, 200)
    batch_lines: int = 60
    job_records: int = 60
    answer_seconds: float = 120.0
    work_seconds: float = 300.0
    seed: int = 1

    @property
    def warm_up_seconds(self) -> float:
        """Age from which a process's memory counts."""
        return min(60.0, self.seconds / 8)


@dataclass(frozen=True)
class AnswerOrder:
    """One answer to ask for.

    Attributes:
        at: seconds from the beginning.
        name: what its tokens begin with.
    """

    at: float
    name: str
    work: Work
    tokens: int


def orders(plan: SoakPlan) -> Iterator[AnswerOrder]:
    """Give the answers that are asked for, in time: exponential gaps, the same for the same seed."""
    generator = random.Random(plan.seed)
    rates = {
        Work.CHAT: plan.chats,
        Work.GUIDED: plan.guided,
        Work.COMPLETION: plan.completions,
        Work.EMBEDDING: plan.embeddings,
    }
    total, now, number = sum(rates.values()), 0.0, 0
    while (now := now + generator.expovariate(total)) < plan.seconds:
        (work,) = generator.choices(list(rates), list(rates.values()))
        number += 1
        yield AnswerOrder(now, f"r{number}", work, generator.randint(*plan.tokens))
