"""The classification benchmark measures a real 4 kB body with the implementations that are there."""

from __future__ import annotations

import random

import pytest

from sage_benchmark.classify import chat_body, run
from sage_control_plane.request.body import read_body
from sage_control_plane.request.request import Endpoint
from sage_middleware.features import load_feature_extractor


@pytest.mark.parametrize("seed", range(5))
def test_the_body_is_a_valid_chat_request_of_4096_bytes(seed: int) -> None:
    body = chat_body(random.Random(seed))
    assert len(body) == 4096
    assert len(read_body(Endpoint.CHAT_COMPLETIONS, body).segments) >= 8


def test_every_stage_is_timed_for_every_implementation_present() -> None:
    result = run(repetitions=20, seed=1)
    _, chosen = load_feature_extractor()
    assert set(result["features"]) == set(result["total"]) == {chosen, "python"}
    assert result["blocks"] == 14
    for times in (result["parse"], *result["features"].values(), *result["total"].values()):
        assert 0 < times["p50_us"] <= times["p99_us"]


def test_python_is_measured_alone_where_native_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_NATIVE", "off")
    assert set(run(repetitions=1, seed=1)["total"]) == {"python"}


def test_no_repetitions_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        run(repetitions=0, seed=1)
