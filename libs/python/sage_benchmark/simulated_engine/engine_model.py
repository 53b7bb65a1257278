"""The latency model of an engine with continuous batching: a pure state machine over a clock that its caller owns.

An engine works in steps. One step gives every decoding sequence one token and computes a chunk of the waiting prompts::

    step = 6 ms + 0.35 ms * decoding + chunk / (8,000 tokens/s)

so that without prompts the time between tokens is 6 ms + 0.35 ms a sequence, prompts are computed at their stated rate,
and both take from one resource, engine-seconds, as in vLLM with chunked prefill. Requests wait in arrival order for one
of ``max_num_seqs`` seats and for KV cache, of which a sequence takes at once what it needs to its end; there is no
preemption. Embedding requests go the way of prompts. A change of the batch takes effect between steps.

Steps between two changes of the batch are equal, so they are counted and not played: a request costs O(log n) however
many tokens it has. With ``every_token`` each token is reported at its time; the times are the same either way, since
the model counts in whole nanoseconds.
"""

from __future__ import annotations

import math
from collections import deque

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.simulated_engine.engine_work import Emission, EngineWork, LostWork
from sage_benchmark.simulated_engine.prefix_cache import PrefixCache
from sage_benchmark.simulated_engine.sequence_batch import NANOSECONDS, EngineSequence, EqualSteps, SequenceBatch


class EngineModel:
    """One engine. Times are seconds of the caller's clock, from 0 on; they must not go back.

    Drive it with ``submit`` and ``cancel``, and call ``advance`` when ``next_event_at`` has come: it returns what has
    been emitted since the last call. Calling it more often changes nothing.

    Args:
        config: the figures.
        every_token: report each token at its time, rather than the first and then the rest with the last.
        cache: its prefix cache; None for one of its own.
    """

    def __init__(
        self, config: EngineModelConfig, *, every_token: bool = False, cache: PrefixCache | None = None
    ) -> None:
        self.config = config
        self._every_token = every_token
        self._sequences: dict[str, EngineSequence] = {}
        self._waiting: deque[EngineSequence] = deque()
        self._waiting_live = 0
        self._batch = SequenceBatch()
        self._cache = PrefixCache() if cache is None else cache
        self._kv_reserved = 0
        self._serial = 0
        self._slowdown, self._not_before = 1.0, 0
        self._emissions: list[Emission] = []
        self._prompt_tokens, self._cached_tokens = 0, 0
        self._run = EqualSteps()
        chunk_seconds = config.prefill_chunk_tokens / config.prefill_tokens_per_second
        self._budget = max(1, round(chunk_seconds * NANOSECONDS))

    # State

    @property
    def running(self) -> int:
        """Requests that hold a seat."""
        return self._batch.seated

    @property
    def waiting(self) -> int:
        """Requests in the engine's own queue."""
        return self._waiting_live

    @property
    def prompt_tokens(self) -> tuple[int, int]:
        """Prompt tokens of all requests that were given a seat, and how many of them were in the prefix cache."""
        return self._prompt_tokens, self._cached_tokens

    @property
    def kv_reserved_tokens(self) -> int:
        """KV cache that the seated requests need to their end."""
        return self._kv_reserved

    @property
    def next_event_at(self) -> float | None:
        """When to call ``advance`` next; None while there is nothing to do."""
        if self._emissions:
            return self._emissions[0].at
        run = self._run
        if not run.count:
            return None
        return run.seconds(run.reported + 1 if self._every_token else run.count)

    def holds(self, key: str) -> bool:
        """Whether the request is here: waiting or seated."""
        return key in self._sequences

    def generated(self, now: float, key: str) -> int:
        """Tokens that a request has so far. KeyError for a request that is not here."""
        sequence = self._sequences[key]
        at = self._roll(now)
        if key not in self._sequences:
            return sequence.work.output_tokens  # it ended just now
        return self._batch.generated(sequence, self._run.done(at))

    def uncached_tokens(self, work: EngineWork) -> int:
        """Prompt tokens of a request that would have to be computed if it were given a seat now."""
        if not self.config.prefix_cache or not work.prefix_blocks:
            return work.input_tokens
        matched = self._cache.match(work.prefix_blocks) * self.config.block_tokens
        return max(min(1, work.input_tokens), work.input_tokens - matched)

    def keep(self, blocks: tuple[int, ...]) -> None:
        """Enter what was computed of a cancelled request into the prefix cache: chained hashes of prompt and answer."""
        if self.config.prefix_cache:
            self._cache.match(blocks)
            self._cache.add(blocks)
            self._trim_cache()

    def kv_usage(self, now: float) -> float:
        """Share of the KV cache in use, 0 to 1; unused cached blocks are free, as vLLM counts them."""
        at = self._roll(now)
        return self._batch.kv_tokens(self._run.done(at)) / self.config.kv_tokens

    # Events

    def submit(self, now: float, work: EngineWork) -> None:
        """A request arrives.

        Raises:
            ValueError: its key is here already, it generates nothing, or it does not fit the engine at all.
        """
        self._check(work)
        at = self._roll(now)
        self._serial += 1
        sequence = EngineSequence(work, self._serial)
        self._sequences[work.key] = sequence
        self._waiting.append(sequence)
        self._waiting_live += 1
        if not self._run.count:
            self._begin_run(max(at, self._not_before))
        elif self._next_fits():
            self._interrupt(at)

    def cancel(self, now: float, key: str) -> int:
        """A request's client went away; return the tokens it had. KeyError for a request that is not here."""
        sequence = self._sequences[key]
        at = self._roll(now)
        if key not in self._sequences:
            return sequence.work.output_tokens  # it ended just now; its last emission is still to be fetched
        del self._sequences[key]
        if not sequence.seated:
            sequence.dead = True
            self._waiting_live -= 1
            self._drop_dead_waiting()
            if self._next_fits():
                self._interrupt(at)
            return 0
        self._settle(at)
        generated = self._batch.generated(sequence, 0)
        self._batch.remove(sequence)
        self._kv_reserved -= sequence.work.kv_tokens
        self._interrupt(at)
        return generated

    def advance(self, now: float) -> list[Emission]:
        """Let the time pass; return what was emitted since the last call, in order of time."""
        self._roll(now)
        emissions, self._emissions = self._emissions, []
        return emissions

    # Faults

    def set_slowdown(self, now: float, factor: float) -> None:
        """From the next step on every step takes ``factor`` times as long. ValueError unless above 0."""
        if not factor > 0:
            raise ValueError(f"slowdown is {factor}; it must be above 0")
        at = self._roll(now)
        self._slowdown = factor
        if self._run.count:
            self._interrupt(at)

    def pause(self, now: float, seconds: float) -> None:
        """The engine makes no progress for ``seconds`` from now: the step under way ends that much later."""
        if seconds < 0:
            raise ValueError(f"a pause of {seconds} seconds; it must be at least 0")
        at = self._roll(now)
        until = max(self._not_before, at + _nanoseconds(seconds))
        if self._run.count:
            self._settle(at)
            self._run.count = 1
            self._run.start += until - max(self._not_before, at)
        self._not_before = until

    def fail(self, now: float) -> list[LostWork]:
        """The engine dies and forgets everything; return what it held, in order of arrival."""
        at = self._roll(now)
        done = self._run.done(at)
        lost = [LostWork(key, self._batch.generated(seq, done)) for key, seq in self._sequences.items()]
        self._sequences.clear()
        self._waiting.clear()
        self._waiting_live = 0
        self._batch = SequenceBatch()
        self._cache.clear()
        self._kv_reserved = 0
        self._run.count = 0
        return lost

    # Steps

    def _check(self, work: EngineWork) -> None:
        if work.key in self._sequences:
            raise ValueError(f"the engine holds a request {work.key!r} already")
        if work.input_tokens < 0 or (work.generates and work.output_tokens < 1):
            raise ValueError(
                f"request {work.key!r} has {work.input_tokens} input and {work.output_tokens} output tokens; "
                "it needs at least 0 and 1"
            )
        if work.kv_tokens > self.config.kv_tokens:
            raise ValueError(
                f"request {work.key!r} needs {work.kv_tokens} tokens of KV cache, there are {self.config.kv_tokens}"
            )

    def _roll(self, now: float) -> int:
        """Do everything that lies at or before ``now``; return it in nanoseconds."""
        at = _nanoseconds(now)
        run = self._run
        while run.count and run.end <= at:
            self._apply(run.count)
            self._begin_run(run.start)
        if self._every_token:
            self._report(run.done(at))
        return at

    def _report(self, steps: int) -> None:
        """Emit the tokens of the run's steps up to this one, without those that end a sequence."""
        run = self._run
        for step in range(run.reported + 1, steps + 1):
            self._emissions += self._batch.tokens(step, run.seconds(step))
        run.reported = max(run.reported, steps)

    def _apply(self, steps: int) -> None:
        """Do the first ``steps`` steps of the run."""
        run = self._run
        if self._every_token:
            self._report(steps)
        ended, emissions = self._batch.step(steps, run.chunk, run.seconds(steps), every_token=self._every_token)
        for sequence in ended:
            del self._sequences[sequence.work.key]
            self._kv_reserved -= sequence.work.kv_tokens
        self._emissions += emissions
        run.drop(steps)

    def _settle(self, now: int) -> None:
        """Make the run start with the step that is under way."""
        done = self._run.done(now)
        if done:
            self._apply(done)

    def _interrupt(self, now: int) -> None:
        """The batch is to change: at once where a step begins now, otherwise after the step under way."""
        if not self._run.count:
            return
        self._settle(now)
        if now <= self._run.start:
            self._begin_run(self._run.start)
        else:
            self._run.count = 1

    def _begin_run(self, start: int) -> None:
        """Seat who fits and count the equal steps from ``start`` on."""
        batch = self._batch
        batch.discard_dead()
        self._seat()
        if not batch.seated:
            self._run.begin(start, 0, 1, 0)
            return
        steps, chunk = batch.equal_steps(self._budget)
        length = round(self.config.step_seconds(batch.decoding) * NANOSECONDS) + chunk
        self._run.begin(start, steps, max(1, round(length * self._slowdown)), chunk)

    def _next_fits(self) -> bool:
        if not self._waiting or self._batch.seated >= self.config.max_num_seqs:
            return False
        return self._kv_reserved + self._waiting[0].work.kv_tokens <= self.config.kv_tokens

    def _drop_dead_waiting(self) -> None:
        while self._waiting and self._waiting[0].dead:
            self._waiting.popleft()

    def _seat(self) -> None:
        while self._next_fits():
            sequence = self._waiting.popleft()
            self._drop_dead_waiting()
            self._waiting_live -= 1
            work = sequence.work
            cached = self._cached(work) if work.generates else 0
            self._kv_reserved += work.kv_tokens
            if work.generates:
                self._prompt_tokens += work.input_tokens
                self._cached_tokens += cached
            seconds = self.config.prompt_seconds(work.kind, work.input_tokens - cached)
            sequence.prompt_left = max(1, math.ceil(seconds * NANOSECONDS))
            self._batch.add(sequence)

    def _cached(self, work: EngineWork) -> int:
        """Look the prompt up in the prefix cache and enter it. The last token is always computed, as in vLLM.

        A prompt counts as cached from when it is seated: prompts are computed in order, so it is there in time.
        """
        if not self.config.prefix_cache or not work.prefix_blocks:
            return 0
        matched = self._cache.match(work.prefix_blocks)
        self._cache.add(work.prefix_blocks)
        self._trim_cache()
        return max(0, min(work.input_tokens - 1, matched * self.config.block_tokens))

    def _trim_cache(self) -> None:
        self._cache.trim((self.config.kv_tokens - self._kv_reserved) // self.config.block_tokens)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * NANOSECONDS)
