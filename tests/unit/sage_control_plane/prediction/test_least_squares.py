"""The fit finds the weights, and goes on finding them."""

from __future__ import annotations

from random import Random

import pytest

from sage_control_plane.prediction.least_squares import RecursiveLeastSquares, Vector

TRUE = (0.02, 0.03, 0.1, 0.01, 0.0)


def sample(random: Random) -> tuple[Vector, float]:
    features = (
        1.0,
        random.uniform(0, 2),
        random.choice([0.0, random.uniform(0, 1)]),
        random.uniform(1, 4),
        random.random(),
    )
    return features, sum(w * x for w, x in zip(TRUE, features, strict=True)) + random.gauss(0, 0.01)


def test_the_fit_is_as_good_after_a_hundred_thousand_noisy_samples_as_after_some() -> None:
    fit, random = RecursiveLeastSquares(), Random(1)
    for count in range(100_000):
        fit.learn(*sample(random))
        if count >= 500:
            assert abs(fit.value((1.0, 1.0, 0.2, 2.0, 0.5)) - 0.09) < 0.02
    assert fit.count == 100_000


def test_a_feature_that_is_not_in_use_gets_no_weight_and_harms_no_other() -> None:
    fit, random = RecursiveLeastSquares(3), Random(2)
    for _ in range(5_000):
        x = random.uniform(0, 5)
        kv = random.random()
        fit.learn((1.0, x, kv, 0.0, 0.0), 0.006 + 0.0035 * x + 0.01 * kv)
    assert fit.weights == pytest.approx((0.006, 0.0035, 0.01, 0.0, 0.0))


def test_samples_that_say_nothing_new_do_not_make_the_next_one_count_too_much() -> None:
    fit = RecursiveLeastSquares()
    for _ in range(50_000):
        fit.learn((1.0, 0.1, 0.0, 0.1, 0.0), 0.05)
    fit.learn((1.0, 0.2, 0.3, 0.1, 0.0), 0.5)
    assert fit.value((1.0, 0.1, 0.0, 0.1, 0.0)) == pytest.approx(0.05, abs=0.01)
