"""What counts as a target that was met, and what callers' answers are counted as."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.control_plane import request
from prometheus_client import CollectorRegistry

from sage_control_plane.request.request import PendingRequest, ServiceLevel
from sage_control_plane.tracking.decisions import Outcome
from sage_scheduler.attainment import AnswerMeters, PoolAnswers, attained

LEVEL = ServiceLevel(ttft_ms=100, tpot_ms=20, end_to_end_ms=1000)
LABELS = {"pool": "main", "service_class": "interactive"}


@pytest.mark.parametrize(
    ("level", "ttft", "tpot", "seconds", "outcome"),
    [
        (LEVEL, 0.1, 0.02, 1.0, "met"),
        (LEVEL, 0.101, 0.02, 1.0, "missed"),
        (LEVEL, 0.1, 0.021, 1.0, "missed"),
        (LEVEL, 0.1, 0.02, 1.001, "missed"),
        # One token has no time between tokens; a continued stream had its first token elsewhere.
        (LEVEL, 0.1, None, 1.0, "met"),
        (LEVEL, None, 0.02, 1.0, "met"),
        (ServiceLevel(ttft_ms=100), None, 5.0, 9.0, "untargeted"),
        (ServiceLevel(), 9.0, 9.0, 9.0, "untargeted"),
    ],
)
def test_every_target_that_applies_is_to_be_met(
    level: ServiceLevel, ttft: float | None, tpot: float | None, seconds: float, outcome: str
) -> None:
    assert attained(level, ttft, tpot, seconds) == outcome


class Counted:
    """One pool's answers, and what Prometheus is shown of them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.answers = PoolAnswers("main", AnswerMeters(self.registry))

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"sage_scheduler_{name}", {**LABELS, **labels})

    @property
    def outcomes(self) -> dict[str, float | None]:
        found = {one: self.value("answers_total", outcome=one) for one in ("met", "missed", "untargeted")}
        return {one: count for one, count in found.items() if count}


@pytest.fixture
def counted() -> Counted:
    return Counted()


def targeted(name: str = "r", *, at: float = 10.0) -> PendingRequest:
    made = request(name, at)
    return replace(made, classification=replace(made.classification, slo=LEVEL))


def test_a_stream_is_timed_from_acceptance_to_its_first_token_and_from_there_to_its_end(counted: Counted) -> None:
    counted.answers.arrived(targeted())
    counted.answers.first_token("r", 10.08)
    counted.answers.finished("r", 10.28, 11, first_token_at=99.0)
    assert counted.value("ttft_seconds_sum") == pytest.approx(0.08)
    assert counted.value("tpot_seconds_sum") == pytest.approx(0.02)
    assert counted.value("answer_seconds_sum") == pytest.approx(0.28)
    assert sum(filter(None, counted.outcomes.values())) == 1


def test_an_answer_that_comes_whole_began_when_its_report_says(counted: Counted) -> None:
    counted.answers.arrived(targeted())
    counted.answers.finished("r", 10.5, 0, first_token_at=10.05)
    assert counted.value("ttft_seconds_sum") == pytest.approx(0.05)
    assert counted.value("tpot_seconds_count") in (0, None)
    assert counted.outcomes == {"met": 1}


def test_only_the_first_of_two_attempts_counts(counted: Counted) -> None:
    counted.answers.arrived(targeted())
    for at in (10.5, 10.9):
        counted.answers.finished("r", at, 0, first_token_at=10.05)
    counted.answers.ended("r", Outcome.FINISHED)
    assert counted.outcomes == {"met": 1}


@pytest.mark.parametrize("outcome", [None, Outcome.FAILED, Outcome.LOST])
def test_who_is_refused_or_gets_an_error_misses_the_target(counted: Counted, outcome: Outcome | None) -> None:
    counted.answers.arrived(targeted())
    counted.answers.ended("r", outcome)
    assert counted.outcomes == {"missed": 1}


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.INTERRUPTED])
def test_who_went_away_is_not_counted(counted: Counted, outcome: Outcome) -> None:
    counted.answers.arrived(targeted())
    counted.answers.ended("r", outcome)
    assert counted.outcomes == {}


def test_a_stream_that_goes_on_has_no_first_token_here(counted: Counted) -> None:
    counted.answers.arrived(replace(targeted(), delivered_tokens=5))
    counted.answers.first_token("r", 10.9)
    counted.answers.finished("r", 10.92, 3, first_token_at=10.9)
    assert counted.value("ttft_seconds_count") in (0, None)
    assert counted.outcomes == {"met": 1}
