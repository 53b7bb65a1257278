"""The recent error of predictions."""

from __future__ import annotations

import pytest

from sage_control_plane.prediction.error import LEAST_SECONDS, PercentageError


def test_an_exact_prediction_of_a_short_time_is_no_error() -> None:
    error = PercentageError()
    error.record(0.6 * LEAST_SECONDS, 0.6 * LEAST_SECONDS)
    assert error.value == 0.0


def test_errors_of_short_times_are_in_units_of_the_shortest_that_counts() -> None:
    error = PercentageError()
    error.record(0.4 * LEAST_SECONDS, 0.6 * LEAST_SECONDS)
    assert error.value == pytest.approx(0.2)
