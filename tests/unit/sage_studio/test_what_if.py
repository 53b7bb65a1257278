"""The last hour played again."""

from __future__ import annotations

import pytest
from fixtures.seen_requests import NOW_UNIX_MS, seen

from sage_control_plane.settings import ControlSettings
from sage_studio.feed import SeenRequest
from sage_studio.what_if import LEAST_ENDED, STEPS, Change, Recording, control_of, fitted, happened, play, recording

# Ten tokens of prompt in 170 ms, and 20 ms a token.
PACE = {"queue_ms": 10.0, "ttft_ms": 200.0, "ended_after_ms": 380.0}


def hour(count: int, every_ms: int = 100) -> list[SeenRequest]:
    return [seen(arrived_ms_ago=600_000 - number * every_ms, request_id=str(number), **PACE) for number in range(count)]


def recorded(requests: list[SeenRequest]) -> Recording:
    made = recording(requests, (), "default", "fifo", NOW_UNIX_MS)
    assert isinstance(made, Recording), made
    return made


def test_engines_are_as_fast_as_the_requests_show() -> None:
    engine = fitted([one.view for one in hour(LEAST_ENDED)])
    assert engine.step_base_seconds == pytest.approx(0.02)
    assert engine.prefill_tokens_per_second == pytest.approx(10 / 0.17)


def test_what_is_played_are_times_and_lengths_and_what_failed_has_the_usual_length() -> None:
    requests = [*hour(LEAST_ENDED), seen(arrived_ms_ago=1000, state="refused", output_tokens=None, ttft_ms=None)]
    made = recorded([*requests, seen(arrived_ms_ago=4_000_000), seen(kind="embedding"), seen(pool="other")])
    assert len(made.arrivals) == LEAST_ENDED + 1
    assert made.arrivals[0].at_seconds == pytest.approx(3000.0)
    assert {arrival.output_tokens for arrival in made.arrivals} == {10}
    assert happened(made).refused == 1


def test_too_few_requests_say_so() -> None:
    assert "5 are needed" in str(recording(hour(2), (), "default", "fifo", NOW_UNIX_MS))


def test_more_engines_keep_more_targets_than_one() -> None:
    made = recorded(hour(60))
    one, many = play(made, Change("fifo", 1)), play(made, Change("fifo", 16))
    assert one.requests == many.requests == 60
    assert one.attainment["interactive"][0] < 0.5 < many.attainment["interactive"][0]
    assert (one.ttft_p95_ms or 0) > (many.ttft_p95_ms or 0)
    assert len(one.waiting) == STEPS
    assert max(one.waiting) > max(many.waiting)


def test_a_target_that_is_wider_is_kept_more_often() -> None:
    made = recorded(hour(40))
    narrow, wide = (play(made, Change("fifo", 1, ttft)) for ttft in (300, 60_000))
    assert narrow.attainment["interactive"][0] < wide.attainment["interactive"][0]


def test_the_policy_in_force_is_played_with_its_settings_and_another_with_its_defaults() -> None:
    settings = {"margin": 0.3, "of_another_version": 1.0}
    made = recording(hour(10), (), "default", "hybrid", NOW_UNIX_MS, settings)
    assert isinstance(made, Recording)
    assert control_of(made, Change("hybrid", 2)).policies.hybrid.margin == 0.3
    assert control_of(made, Change("fifo", 2)) == ControlSettings()
    assert play(made, Change("hybrid", 2)).requests == 10
