from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from sage_embed_executor.backends.backend import Runtime, Vectors
from sage_embed_executor.models.tokenizer import TokenIds
from sage_embed_executor.selection.trial_child import best_token_budget, give_up_reason, tokens_per_second

INPUTS = [np.ones(length, dtype=np.int32) for length in (4, 9, 30, 4, 12, 60)]


class Fake:
    dimensions = 2
    description = "fake"

    def __init__(self, work: Callable[[Sequence[TokenIds]], None]) -> None:
        self._work = work
        self.batches: list[int] = []

    def embed(self, batch: Sequence[TokenIds]) -> Vectors:
        self.batches.append(len(batch) * max(map(len, batch)))
        self._work(batch)
        return np.zeros((len(batch), 2), dtype=np.float32)


def slow(seconds: float) -> Callable[[Sequence[TokenIds]], None]:
    # Waits as an emulated instruction would: there is no event to come.
    def work(_batch: Sequence[TokenIds]) -> None:
        threading.Event().wait(seconds)

    return work


def test_a_backend_that_takes_long_for_one_short_text_is_given_up_at_once() -> None:
    backend = Fake(slow(0.6))
    assert "given up: 0." in give_up_reason(backend, INPUTS)
    assert len(backend.batches) == 2
    assert give_up_reason(Fake(slow(0)), INPUTS) == ""


def test_a_backend_far_below_the_best_is_stopped_on_the_way() -> None:
    backend = Fake(slow(0.05))
    assert tokens_per_second(backend, INPUTS * 20, Runtime(), 64, best_so_far=1e6) == 0
    assert len(backend.batches) < 5


def test_batches_are_those_of_the_live_queue() -> None:
    backend = Fake(slow(0.001))
    assert tokens_per_second(backend, INPUTS * 4, Runtime(streams=2), 64) > 0
    assert max(backend.batches) <= 64


def test_what_fails_on_a_stream_fails_the_measurement() -> None:
    def broken(_batch: Sequence[TokenIds]) -> None:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        tokens_per_second(Fake(broken), INPUTS, Runtime(streams=2), 64)


def test_the_least_budget_that_is_about_as_fast_is_the_best() -> None:
    assert best_token_budget({256: 90.0, 512: 100.0, 1024: 100.9, 2048: 100.5}) == 512
    assert best_token_budget({256: 50.0, 2048: 100.0}) == 2048
