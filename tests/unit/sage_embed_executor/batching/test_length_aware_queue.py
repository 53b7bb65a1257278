from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_embed_executor.batching.batch_cost import (
    DEFAULT_OVERHEAD_TOKENS,
    MAX_OVERHEAD_TOKENS,
    MIN_OVERHEAD_TOKENS,
    BatchCostModel,
)
from sage_embed_executor.batching.length_aware_queue import MIN_SPLIT_TOKENS, BatchLimits, LengthAwareQueue, TokenBatch

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=200)
LIMITS = st.builds(BatchLimits, st.integers(1, 2048), st.floats(0, 1))
ONE_BY_ONE = BatchLimits(token_budget=1)


def filled(lengths: list[int], limits: BatchLimits) -> LengthAwareQueue[str, int]:
    queue: LengthAwareQueue[str, int] = LengthAwareQueue(limits)
    queue.open("r")
    for key, tokens in enumerate(lengths):
        queue.add("r", key, tokens)
    return queue


def drained(queue: LengthAwareQueue[str, int]) -> list[TokenBatch[int]]:
    batches = []
    while batch := queue.take():
        batches.append(batch)
    return batches


@given(LENGTHS, LIMITS)
def test_every_item_is_in_exactly_one_batch(lengths: list[int], limits: BatchLimits) -> None:
    keys = [key for batch in drained(filled(lengths, limits)) for key in batch.keys]
    assert sorted(keys) == list(range(len(lengths)))


@given(LENGTHS, LIMITS)
def test_only_a_single_item_exceeds_the_limits(lengths: list[int], limits: BatchLimits) -> None:
    for batch in drained(filled(lengths, limits)):
        sizes = [lengths[key] for key in batch.keys]
        assert (batch.tokens, batch.longest) == (sum(sizes), max(sizes))
        if len(sizes) > 1:
            assert len(sizes) * max(sizes) <= limits.token_budget
            padding = len(sizes) * max(sizes) - sum(sizes)
            assert padding <= limits.max_padding_share * len(sizes) * max(sizes)


@given(LENGTHS, LIMITS)
def test_every_batch_begins_with_the_oldest_item_of_a_request(lengths: list[int], limits: BatchLimits) -> None:
    queue = filled(lengths, limits)
    waiting = set(range(len(lengths)))
    while batch := queue.take():
        assert batch.keys[0] == min(waiting)
        waiting -= set(batch.keys)
        assert len(queue) == len(waiting)
        assert queue.tokens == sum(lengths[key] for key in waiting)
        assert all((key in queue) == (key in waiting) for key in range(len(lengths)))


@given(LENGTHS, LIMITS)
def test_equal_lengths_leave_in_order_of_age(lengths: list[int], limits: BatchLimits) -> None:
    keys = [key for batch in drained(filled(lengths, limits)) for key in batch.keys]
    for length in set(lengths):
        same = [key for key in keys if lengths[key] == length]
        assert same == sorted(same)


@given(
    st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=12), min_size=1, max_size=8),
    LIMITS,
    st.integers(0, 5),
    st.data(),
)
def test_only_what_nobody_else_wants_is_dropped_with_a_request(
    wanted: list[set[int]], limits: BatchLimits, taken: int, data: st.DataObject
) -> None:
    queue: LengthAwareQueue[int, int] = LengthAwareQueue(limits)
    for request, keys in enumerate(wanted):
        queue.open(request)
        for key in sorted(keys):
            queue.add(request, key, tokens=key + 1)
    out = {key for _ in range(taken) for key in getattr(queue.take(), "keys", ())}
    closed = data.draw(st.sets(st.integers(0, len(wanted) - 1)))
    dropped = [key for request in sorted(closed) for key in queue.close(request)]
    still_wanted = {key for request, keys in enumerate(wanted) if request not in closed for key in keys}
    assert sorted(dropped) == sorted(set().union(*wanted) - out - still_wanted)
    left = [key for batch in iter(queue.take, None) if batch for key in batch.keys]
    assert sorted(left) == sorted(still_wanted - out)
    assert (len(queue), queue.tokens) == (0, 0)


def test_neighbours_in_length_are_preferred() -> None:
    queue = filled([20, 100, 21, 19, 3, 20], BatchLimits(token_budget=84, max_padding_share=0.5))
    first = queue.take()
    assert first is not None
    assert first.keys == (0, 5, 3, 2)
    assert first.padded_tokens == 84


def test_a_short_text_is_not_padded_to_the_length_of_a_long_one() -> None:
    queue = filled([4, 200], BatchLimits(token_budget=512, max_padding_share=0.25))
    assert [batch.keys for batch in drained(queue)] == [(0,), (1,)]


def test_texts_of_different_requests_share_a_batch() -> None:
    queue: LengthAwareQueue[str, str] = LengthAwareQueue(BatchLimits())
    for request in ("a", "b", "c"):
        queue.open(request)
        queue.add(request, f"text of {request}", 9)
    assert queue.take() == TokenBatch(("text of a", "text of b", "text of c"), 27, 9)


def test_an_item_wanted_by_a_second_request_comes_when_either_has_its_turn() -> None:
    queue: LengthAwareQueue[str, int] = LengthAwareQueue(ONE_BY_ONE)
    queue.open("long")
    for key in range(10):
        queue.add("long", key, 5)
    queue.open("short")
    queue.add("short", 7, 5)
    assert queue.take() == TokenBatch((7,), 5, 5)
    assert len(queue) == 9


def served(slots: int, shorts_waiting: Callable[[int, int], int]) -> list[str]:
    """Who is served in each slot: one long request from the start, and short ones as ``shorts_waiting`` says.

    Args:
        shorts_waiting: from the slot and the short requests that wait, how many are to wait.
    """
    queue: LengthAwareQueue[str, str] = LengthAwareQueue(ONE_BY_ONE)
    queue.open("long")
    for number in range(slots):
        queue.add("long", f"long {number}", 1)
    names: list[str] = []
    waiting = opened = 0
    for slot in range(slots):
        for _ in range(shorts_waiting(slot, waiting) - waiting):
            name = f"short {opened}"
            queue.open(name)
            queue.add(name, name, 1)
            opened += 1
            waiting += 1
        batch = queue.take()
        assert batch is not None
        (key,) = batch.keys
        names.append(key.split()[0])
        if key.startswith("short"):
            assert queue.close(key) == []
            waiting -= 1
    return names


def test_a_short_request_goes_before_the_rest_of_a_long_one() -> None:
    names = served(100, lambda slot, waiting: 1 if slot == 40 else waiting)
    assert [slot for slot, name in enumerate(names) if name == "short"] == [40]


def test_short_requests_at_half_the_capacity_leave_the_other_half_to_a_long_one() -> None:
    names = served(200, lambda slot, waiting: waiting + (slot % 2 == 0))
    assert names.count("short") == pytest.approx(100, abs=1)
    assert all({"short", "long"} == set(names[slot : slot + 3]) for slot in range(198))


@pytest.mark.parametrize("clients", [1, 3, 8])
def test_a_flood_of_short_requests_leaves_a_long_one_its_share(clients: int) -> None:
    names = served(400, lambda _slot, _waiting: clients)
    assert names.count("long") == pytest.approx(400 / (clients + 1), rel=0.1)


def test_taking_many_batches_of_a_long_request_does_not_put_it_ahead_of_later_ones() -> None:
    """Neighbours are taken out of turn; what was passed over must not count as older than a later request."""
    queue: LengthAwareQueue[str, str] = LengthAwareQueue(BatchLimits(token_budget=40, max_padding_share=0))
    queue.open("long")
    for number in range(100):
        queue.add("long", f"{number}", 10 if number % 2 else 20)
    for _ in range(10):
        queue.take()
    queue.open("short")
    queue.add("short", "short", 3)
    assert queue.take() == TokenBatch(("short",), 3, 3)


def test_an_item_without_tokens_is_an_error() -> None:
    queue: LengthAwareQueue[str, str] = LengthAwareQueue(BatchLimits())
    queue.open("r")
    with pytest.raises(ValueError, match="at least one token, got 0"):
        queue.add("r", "x", 0)


def fitted_model() -> BatchCostModel:
    """A model fitted to 1 ms a token."""
    model = BatchCostModel()
    for tokens in (4, 8, 16, 32, 64, 128):
        for _ in range(20):
            model.observe(tokens, tokens / 1_000)
    return model


def test_a_batchs_time_is_learned_from_those_before_it() -> None:
    model = fitted_model()
    assert model.predict_seconds(50) == pytest.approx(0.05, rel=0.01)
    assert model.predict_seconds(0) == pytest.approx(0, abs=3e-3)
    assert BatchCostModel().predict_seconds(50) is None


def test_a_request_that_one_more_batch_would_make_late_goes_first() -> None:
    queue: LengthAwareQueue[str, str] = LengthAwareQueue(BatchLimits(10, 0), fitted_model())
    for request, deadline in (("early", math.inf), ("pressed", 10.015), ("relaxed", 60.0)):
        queue.open(request, deadline)
        queue.add(request, request, {"early": 9, "pressed": 10, "relaxed": 8}[request])
    assert [batch.keys for batch in iter(lambda: queue.take(10.0), None)] == [("pressed",), ("relaxed",), ("early",)]


def test_a_request_that_is_late_already_waits_its_turn() -> None:
    queue: LengthAwareQueue[str, str] = LengthAwareQueue(BatchLimits(10, 0), fitted_model())
    queue.open("first")
    queue.add("first", "first", 9)
    queue.open("late", 9.0)
    queue.add("late", "late", 10)
    batch = queue.take(10.0)
    assert batch is not None
    assert batch.keys == ("first",)


def pressed_batch(queue: LengthAwareQueue[str, str]) -> TokenBatch[str]:
    """The batch that a request with 35 ms left begins."""
    queue.open("pressed", 10.035)
    queue.add("pressed", "p", 10)
    batch = queue.take(10.0)
    assert batch is not None
    assert batch.keys[0] == "p"
    return batch


def test_a_pressed_batch_grows_only_as_far_as_its_deadline_allows() -> None:
    queue: LengthAwareQueue[str, str] = LengthAwareQueue(BatchLimits(100, 0), fitted_model())
    queue.open("bulk")
    for number in range(8):
        queue.add("bulk", f"b{number}", 10)
    assert len(pressed_batch(queue).keys) == 3


def test_a_pressed_batch_is_whole_where_most_are_late_already() -> None:
    queue: LengthAwareQueue[str, str] = LengthAwareQueue(BatchLimits(100, 0), fitted_model())
    for number in range(11):
        queue.open(f"late {number}", 9.0)
        queue.add(f"late {number}", f"l{number}", 10)
    assert len(pressed_batch(queue).keys) == 10


def test_a_few_late_requests_do_not_make_a_pressed_batch_whole() -> None:
    queue: LengthAwareQueue[str, str] = LengthAwareQueue(BatchLimits(100, 0), fitted_model())
    for number in range(4):
        queue.open(f"late {number}", 9.0)
        queue.add(f"late {number}", f"l{number}", 10)
    assert len(pressed_batch(queue).keys) == 3


def test_what_is_left_is_shared_out_among_those_who_take_at_the_same_time() -> None:
    queue: LengthAwareQueue[str, int] = LengthAwareQueue(BatchLimits(1_000, 0))
    queue.open("r")
    for number in range(8):
        queue.add("r", number, 50)
    batches = [queue.take(streams=2), queue.take(streams=1)]
    assert [len(batch.keys) for batch in batches if batch is not None] == [4, 4]


def test_a_deep_queue_gives_whole_batches_to_all_and_a_shallow_one_no_crumbs() -> None:
    limits = BatchLimits(100, 0)
    assert limits.split(tokens=200, streams=2) == limits
    assert limits.split(tokens=150, streams=2).token_budget == 75
    assert limits.split(tokens=30, streams=2).token_budget == MIN_SPLIT_TOKENS


def test_a_text_joins_a_batch_only_if_that_makes_its_tokens_cheaper() -> None:
    """With three texts of 40 tokens one of 30 costs 10 tokens of padding, and takes a fifth of what a batch costs."""
    cheap_batches = BatchCostModel()
    for tokens in (40, 80, 160, 320, 640):
        for _ in range(20):
            cheap_batches.observe(tokens, (tokens + 20) / 1_000)
    assert cheap_batches.overhead_tokens == pytest.approx(20, rel=0.05)
    for model, joins in ((cheap_batches, False), (BatchCostModel(), True)):
        queue: LengthAwareQueue[str, int] = LengthAwareQueue(BatchLimits(4_000, 0.5), model)
        queue.open("r")
        for number in range(3):
            queue.add("r", number, 40)
        queue.add("r", 99, 30)
        batch = queue.take()
        assert batch is not None
        assert (99 in batch.keys) is joins


def test_batches_that_are_all_alike_say_nothing_of_what_a_batch_costs() -> None:
    model = BatchCostModel()
    for _ in range(200):
        model.observe(64, 0.164)
    assert model.overhead_tokens == DEFAULT_OVERHEAD_TOKENS
    for tokens in (64, 128, 256, 512, 1_024) * 40:
        model.observe(tokens, (tokens + 100) / 1_000)
    assert model.overhead_tokens == pytest.approx(100, rel=0.05)


def test_what_a_batch_costs_beside_its_tokens_is_believed_within_bounds() -> None:
    for seconds_of, expected in (
        ((lambda tokens: 1.0), DEFAULT_OVERHEAD_TOKENS),
        ((lambda tokens: tokens / 1_000), MIN_OVERHEAD_TOKENS),
    ):
        model = BatchCostModel()
        for tokens in (40, 80, 160, 320, 640) * 20:
            model.observe(tokens, seconds_of(tokens))
        assert model.overhead_tokens in (expected, MAX_OVERHEAD_TOKENS)


def test_what_is_computed_elsewhere_is_no_longer_queued() -> None:
    queue: LengthAwareQueue[str, str] = LengthAwareQueue(BatchLimits(10, 0))
    queue.open("r")
    queue.add("r", "a", 3)
    queue.discard("a")
    queue.discard("never there")
    assert queue.take() is None
    assert (len(queue), queue.tokens) == (0, 0)
    assert queue.close("r") == []
