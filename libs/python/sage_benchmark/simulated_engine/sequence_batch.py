"""The sequences that hold a seat in the engine: those whose prompt is being computed, and those being decoded."""

from __future__ import annotations

import heapq
from collections import deque

from sage_benchmark.simulated_engine.engine_work import Emission, EngineWork


class EngineSequence:
    """One request within the engine.

    Attributes:
        prompt_left: nanoseconds of engine time that its prompt still takes.
        started: the batch's step count when its first token came; -1 before that.
        dead: cancelled; the batch skips it.
    """

    __slots__ = ("dead", "prompt_left", "seated", "serial", "started", "work")

    def __init__(self, work: EngineWork, serial: int) -> None:
        self.work = work
        self.serial = serial
        self.prompt_left = 0
        self.started = -1
        self.seated = False
        self.dead = False


class SequenceBatch:
    """What a step works on. It knows steps, and no time: its caller says how long they take.

    Each step gives every decoding sequence one token and computes up to ``chunk`` nanoseconds of prompts, first come
    first served. A prompt's last chunk gives its sequence the first token; it is decoded from the next step on.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._decoding: dict[str, EngineSequence] = {}
        self._ends: list[tuple[int, int, EngineSequence]] = []
        self._prompts: deque[EngineSequence] = deque()
        self._prompts_live = 0
        self._prompt_work = 0
        self._stale_prompts = False
        self._prompt_kv = 0
        self._decoding_kv = 0

    @property
    def decoding(self) -> int:
        """Sequences that get a token each step."""
        return len(self._decoding)

    @property
    def seated(self) -> int:
        """Sequences in the batch."""
        return len(self._decoding) + self._prompts_live

    def kv_tokens(self, further_steps: int) -> int:
        """Tokens in the KV cache after ``further_steps`` more steps."""
        return self._prompt_kv + self._decoding_kv + len(self._decoding) * (self._steps + further_steps)

    def add(self, sequence: EngineSequence) -> None:
        """Seat a sequence; ``prompt_left`` says what its prompt takes."""
        sequence.seated = True
        self._prompts.append(sequence)
        self._prompts_live += 1
        self._prompt_work += sequence.prompt_left
        if sequence.work.generates:
            self._prompt_kv += sequence.work.input_tokens

    def remove(self, sequence: EngineSequence) -> None:
        """A cancelled sequence leaves. Work on it in the step under way is not undone."""
        sequence.dead = True
        if sequence.started >= 0:
            del self._decoding[sequence.work.key]
            self._decoding_kv -= sequence.work.input_tokens + 1 - sequence.started
            return
        self._prompts_live -= 1
        self._stale_prompts = True
        if sequence.work.generates:
            self._prompt_kv -= sequence.work.input_tokens

    def discard_dead(self) -> None:
        """Forget the prompts of cancelled sequences; to be called between steps."""
        if self._stale_prompts:
            self._prompts = deque(sequence for sequence in self._prompts if not sequence.dead)
            self._prompt_work = sum(sequence.prompt_left for sequence in self._prompts)
            self._stale_prompts = False
        while self._ends and self._ends[0][2].dead:
            heapq.heappop(self._ends)

    def generated(self, sequence: EngineSequence, further_steps: int) -> int:
        """Tokens that a sequence has after ``further_steps`` more steps."""
        return self._steps + further_steps - sequence.started + 1 if sequence.started >= 0 else 0

    def equal_steps(self, budget: int) -> tuple[int, int]:
        """Return (steps until the batch changes, nanoseconds of prompt work in each of them).

        The last of these steps is the one in which a sequence ends or gets its first token; up to then they all take
        the same time. The batch must not be empty.
        """
        chunk = min(budget, self._prompt_work)
        steps = self._ends[0][0] - self._steps if self._ends else None
        if self._prompts:
            first = -(-self._prompts[0].prompt_left // budget)
            if first * budget > self._prompt_work:
                # The step that computes the last of all prompts is shorter than the ones before it.
                first = max(1, first - 1)
            steps = first if steps is None else min(steps, first)
        assert steps is not None
        return steps, chunk

    def tokens(self, step: int, at: float) -> list[Emission]:
        """The tokens of the ``step``-th step from here. Those that end a sequence are left to ``step``."""
        count = self._steps + step
        emissions = []
        for sequence in self._decoding.values():
            token = count - sequence.started
            if token < sequence.work.output_tokens - 1:
                emissions.append(Emission(sequence.work.key, at, token, token + 1, False))
        return emissions

    def step(
        self, steps: int, chunk: int, at: float, *, every_token: bool
    ) -> tuple[list[EngineSequence], list[Emission]]:
        """Do ``steps`` steps; return the sequences that ended, and what they and those that began have emitted.

        ``every_token`` says that the tokens before the last have been emitted already.
        """
        self._steps += steps
        ended: list[EngineSequence] = []
        emissions: list[Emission] = []
        while self._ends and self._ends[0][0] <= self._steps:
            sequence = heapq.heappop(self._ends)[2]
            if sequence.dead:
                continue
            work = sequence.work
            del self._decoding[work.key]
            self._decoding_kv -= work.input_tokens + 1 - sequence.started
            first = work.output_tokens - 1 if every_token else 1
            emissions.append(Emission(work.key, at, first, work.output_tokens, True))
            ended.append(sequence)
        self._compute_prompts(steps * chunk, at, ended, emissions)
        return ended, emissions

    def _compute_prompts(self, work: int, at: float, ended: list[EngineSequence], emissions: list[Emission]) -> None:
        prompts = self._prompts
        while prompts and prompts[0].prompt_left <= work:
            sequence = prompts.popleft()
            work -= sequence.prompt_left
            self._prompt_work -= sequence.prompt_left
            sequence.prompt_left = 0
            if not sequence.dead:
                self._begin(sequence, at, ended, emissions)
        if prompts and work:
            prompts[0].prompt_left -= work
            self._prompt_work -= work

    def _begin(
        self, sequence: EngineSequence, at: float, ended: list[EngineSequence], emissions: list[Emission]
    ) -> None:
        work = sequence.work
        self._prompts_live -= 1
        if not work.generates:
            emissions.append(Emission(work.key, at, 0, 0, True))
            ended.append(sequence)
            return
        self._prompt_kv -= work.input_tokens
        finished = work.output_tokens == 1
        emissions.append(Emission(work.key, at, 0, 1, finished))
        sequence.started = self._steps
        if finished:
            ended.append(sequence)
            return
        self._decoding[work.key] = sequence
        self._decoding_kv += work.input_tokens + 1 - self._steps
        heapq.heappush(self._ends, (self._steps + work.output_tokens - 1, sequence.serial, sequence))


NANOSECONDS = 1_000_000_000


class EqualSteps:
    """``count`` steps of ``length`` nanoseconds from ``start`` on. Nothing is under way while ``count`` is 0.

    Attributes:
        chunk: nanoseconds of prompt work in each.
        reported: steps whose tokens have been reported one by one.
    """

    __slots__ = ("chunk", "count", "length", "reported", "start")

    def __init__(self) -> None:
        self.start = 0
        self.count = 0
        self.length = 1
        self.chunk = 0
        self.reported = 0

    @property
    def end(self) -> int:
        """When the last of them is done."""
        return self.start + self.count * self.length

    def seconds(self, step: int) -> float:
        """When the ``step``-th of them is done, in seconds."""
        return (self.start + step * self.length) / NANOSECONDS

    def done(self, now: int) -> int:
        """Whole steps that have passed."""
        if now <= self.start:
            return 0
        return min(self.count, (now - self.start) // self.length)

    def begin(self, start: int, count: int, length: int, chunk: int) -> None:
        """A new stretch."""
        self.start = start
        self.count = count
        self.length = length
        self.chunk = chunk
        self.reported = 0

    def drop(self, steps: int) -> None:
        """The first ``steps`` have been accounted for; what is left starts after them."""
        self.start += steps * self.length
        self.count -= steps
        self.reported = max(0, self.reported - steps)
