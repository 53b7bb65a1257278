from __future__ import annotations

import pytest

from sage_cli.mesh.started_engine import ADOPTED_SECONDS, StartedEngine
from sage_client.management.views import EngineView
from sage_common.errors import UnavailableError


def engine(engine_id: str, phase: str = "starting", reason: str = "", name: str = "tiny") -> EngineView:
    labels = {"registered": name} if name else {}
    return EngineView(engine_id, "vllm", "main", phase, reason, "owner", (), 8, 0, 0, 0, 0.0, "", labels)


def test_an_engine_that_nobody_has_heard_of_yet_is_waited_for() -> None:
    started = StartedEngine(engine("tiny-aaaa"))
    assert started.find([], 0.0) is None
    assert started.find([engine("other-aaaa", name="other")], 1000.0) is None


def test_one_that_another_coordinator_has_taken_over_is_followed_by_its_name() -> None:
    started = StartedEngine(engine("tiny-aaaa"))
    assert started.find([engine("tiny-aaaa")], 0.0) == engine("tiny-aaaa")
    assert started.find([], 1.0) is None
    assert started.find([engine("tiny-bbbb", "ready")], 3.0) == engine("tiny-bbbb", "ready")


def test_one_that_nobody_takes_over_is_gone() -> None:
    started = StartedEngine(engine("tiny-aaaa"))
    started.find([engine("tiny-aaaa")], 0.0)
    assert started.find([], ADOPTED_SECONDS - 1) is None
    with pytest.raises(UnavailableError, match="tiny-aaaa is gone"):
        started.find([], ADOPTED_SECONDS + 1)


def test_one_without_a_name_is_gone_at_once() -> None:
    started = StartedEngine(engine("tiny-aaaa", name=""))
    started.find([engine("tiny-aaaa", name="")], 0.0)
    with pytest.raises(UnavailableError, match="is gone"):
        started.find([engine("tiny-bbbb", name="")], 1.0)


def test_one_that_was_given_up_says_why() -> None:
    with pytest.raises(UnavailableError, match="given up after 5 starts"):
        StartedEngine(engine("tiny-aaaa")).find([engine("tiny-aaaa", "unhealthy", "given up after 5 starts")], 0.0)


def test_one_that_is_being_stopped_gives_way_to_the_one_that_has_its_name_now() -> None:
    started = StartedEngine(engine("tiny-aaaa"))
    started.find([engine("tiny-aaaa")], 0.0)
    there = [engine("tiny-aaaa", "stopped"), engine("tiny-bbbb")]
    assert started.find(there, 1.0) == engine("tiny-bbbb")


def test_one_that_could_not_be_stopped_is_gone_though_it_is_still_shown() -> None:
    started = StartedEngine(engine("tiny-aaaa"))
    started.find([engine("tiny-aaaa")], 0.0)
    with pytest.raises(UnavailableError, match="tiny-aaaa is gone"):
        started.find([engine("tiny-aaaa", "stopped", "it could not be stopped")], ADOPTED_SECONDS + 1)
