"""What the test bed reads out of logs and streams."""

from __future__ import annotations

import json

from sage_benchmark.hosts.checked_streams import CheckedStream, faults
from sage_benchmark.hosts.lease_history import overlaps, terms
from sage_benchmark.simulated_engine.answer_text import answer_text


def line(event: str, instance: str, second: int, **values: object) -> str:
    entry = {"event": event, "instance": instance, "key": "pool.main", **values}
    return json.dumps({**entry, "timestamp": f"2026-12-01T00:00:{second:02}.000000Z"})


def test_terms_that_follow_each_other_do_not_overlap() -> None:
    first = "\n".join([line("lease gained", "s-1", 1, epoch=10), "no json", line("lease lost", "s-1", 5)])
    second = line("lease gained", "s-2", 6, epoch=20)
    history = terms([(1, first), (2, second)])
    assert [(term.host, term.epoch) for term in history] == [(1, 10), (2, 20)]
    assert [term.lost - term.gained for term in history] == [4.0, float("inf")]
    assert overlaps(history) == []


def test_two_leaders_at_the_same_time_are_found() -> None:
    first = "\n".join([line("lease gained", "s-1", 1, epoch=10), line("lease lost", "s-1", 5)])
    second = line("lease gained", "s-2", 4, epoch=20)
    (pair,) = overlaps(terms([(1, first), (2, second)]))
    assert [term.host for term in pair] == [1, 2]


def test_a_stream_is_whole_where_each_token_came_once_in_order() -> None:
    whole = CheckedStream("a", 5, answer_text("a", 0, 5), [0.0, 1.0, 1.5])
    assert whole.whole
    assert (whole.missing, whole.doubled, whole.longest_gap_seconds) == (0, 0, 1.0)
    doubled = CheckedStream("a", 5, answer_text("a", 0, 3) + answer_text("a", 2, 5))
    lost = CheckedStream("a", 5, answer_text("a", 0, 4))
    anothers = CheckedStream("a", 5, answer_text("b", 0, 5))
    broken = CheckedStream("a", 5, answer_text("a", 0, 5), fault="503")
    assert (doubled.doubled, doubled.missing, lost.missing) == (1, 0, 1)
    assert len(faults([whole, doubled, lost, anothers, broken])) == 4
