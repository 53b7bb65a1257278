"""Answers that were stopped: which engine has computed them, and how much of one an engine computes again."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

# Continuations before nothing but what they show counts, and of which the mean is taken.
LEAST_CONTINUATIONS = 8.0
CONTINUATIONS_REMEMBERED = 20.0
# Stopped answers that are remembered: callers decide how many there are.
MOST_KEPT = 4_096


class KeptAnswer(NamedTuple):
    """An answer that was stopped.

    Attributes:
        engine_id: of the engine that has computed it.
        charged_tokens: of it, that were paid for as computed again.
    """

    engine_id: str
    charged_tokens: float


class _Mean:
    """A mean of the latest values; while there are few, an assumption counts as one more."""

    __slots__ = ("_assumed", "_mean", "_seen")

    def __init__(self, assumed: float) -> None:
        self._assumed = assumed
        self._mean = 0.0
        self._seen = 0.0

    @property
    def is_known(self) -> bool:
        return self._seen >= LEAST_CONTINUATIONS

    @property
    def value(self) -> float:
        return self._mean if self.is_known else (self._mean * self._seen + self._assumed) / (self._seen + 1.0)

    def add(self, value: float) -> None:
        self._seen = min(self._seen + 1.0, CONTINUATIONS_REMEMBERED)
        self._mean += (value - self._mean) / self._seen


class KeptAnswers:
    """The stopped answers of a pool.

    An engine keeps what it has computed of an answer in its prefix cache, while nothing else needs the room there. What
    it computes again when the answer goes on is learned, for each engine and model, from the cached tokens that it
    reports. A new engine begins with the mean of all, and the first with one that computes everything again.
    """

    def __init__(self) -> None:
        self._answers: OrderedDict[str, KeptAnswer] = OrderedDict()
        self._shares: dict[tuple[str, str], _Mean] = {}
        self._of_model: dict[str, _Mean] = {}
        self._of_all = _Mean(1.0)

    def stopped(self, request_id: str, engine_id: str, charged_tokens: float) -> None:
        """Note that an answer was stopped on an engine, to go on later."""
        self._answers[request_id] = KeptAnswer(engine_id, charged_tokens)
        self._answers.move_to_end(request_id)
        if len(self._answers) > MOST_KEPT:
            self._answers.popitem(last=False)

    def get(self, request_id: str) -> KeptAnswer | None:
        """Return the answer; None where it was not stopped, or goes on already."""
        return self._answers.get(request_id)

    def pop(self, request_id: str) -> KeptAnswer | None:
        """Return the answer and forget it; None as for ``get``."""
        return self._answers.pop(request_id, None)

    def recomputed_share(self, engine_id: str, model: str) -> float:
        """Return the share of prompt and answer, 0 to 1, that the engine is expected to compute again."""
        learned = self._shares.get((engine_id, model)) or self._of_model.get(model)
        return 1.0 if learned is None else learned.value

    @property
    def usual_share(self) -> float:
        """The same of any answer on any engine."""
        return self._of_all.value

    def learn(self, engine_id: str, model: str, recomputed_share: float) -> None:
        """Learn from an answer that goes on where it was stopped."""
        of_model = self._of_model.setdefault(model, _Mean(1.0))
        self._shares.setdefault((engine_id, model), _Mean(of_model.value)).add(recomputed_share)
        of_model.add(recomputed_share)
        self._of_all.add(recomputed_share)

    def remove(self, engine_id: str) -> None:
        """Remove an engine with its cache."""
        for key in [key for key in self._shares if key[0] == engine_id]:
            del self._shares[key]
        for request_id in [one for one, kept in self._answers.items() if kept.engine_id == engine_id]:
            del self._answers[request_id]
