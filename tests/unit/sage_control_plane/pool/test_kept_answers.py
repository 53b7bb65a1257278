"""What an engine computes again of a stopped answer is learned; until it has shown it, everything counts."""

from __future__ import annotations

import pytest

from sage_control_plane.pool.kept_answers import LEAST_CONTINUATIONS, MOST_KEPT, KeptAnswers


def test_everything_counts_as_computed_again_until_an_engine_has_shown_otherwise() -> None:
    kept = KeptAnswers()
    assert kept.recomputed_share("e", "m") == 1.0
    shares = []
    for _ in range(int(LEAST_CONTINUATIONS)):
        kept.learn("e", "m", 0.01)
        shares.append(kept.recomputed_share("e", "m"))
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.5
    assert kept.recomputed_share("e", "m") == pytest.approx(0.01)
    assert kept.usual_share == pytest.approx(0.01)


def test_a_new_engine_begins_with_what_others_of_its_model_have_shown() -> None:
    kept = KeptAnswers()
    for _ in range(20):
        kept.learn("e", "m", 0.1)
    assert kept.recomputed_share("new", "m") == pytest.approx(0.1)
    assert kept.recomputed_share("new", "other") == 1.0
    # What it shows itself counts from then on.
    for _ in range(20):
        kept.learn("new", "m", 0.9)
    assert kept.recomputed_share("new", "m") == pytest.approx(0.9)
    assert kept.recomputed_share("e", "m") == pytest.approx(0.1)


def test_a_cache_that_no_longer_keeps_answers_is_noticed() -> None:
    kept = KeptAnswers()
    for share in [0.0] * 40 + [1.0] * 60:
        kept.learn("e", "m", share)
    assert kept.recomputed_share("e", "m") > 0.9


def test_an_answer_is_remembered_until_it_goes_on_or_its_engine_is_gone() -> None:
    kept = KeptAnswers()
    kept.stopped("a", "e", 100.0)
    kept.stopped("b", "f", 50.0)
    kept.learn("f", "m", 0.5)
    found = kept.pop("a")
    assert found is not None
    assert (found.engine_id, found.charged_tokens) == ("e", 100.0)
    assert kept.pop("a") is None
    kept.remove("f")
    assert kept.get("b") is None
    for number in range(MOST_KEPT + 1):
        kept.stopped(str(number), "e", 1.0)
    assert kept.get("0") is None
    assert kept.get("1") is not None
