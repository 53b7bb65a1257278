"""What the tests of the pure control plane share."""

from __future__ import annotations

from random import Random

import pytest

from sage_control_plane.breaker import BreakerSettings
from sage_control_plane.placement.filters import engine_filters, request_filters
from sage_control_plane.placement.pickers import make_picker
from sage_control_plane.placement.placer import Placer
from sage_control_plane.placement.scorers import LeastWork
from sage_control_plane.roster import Roster


@pytest.fixture(scope="session")
def roster() -> Roster:
    """An empty roster, as what a policy sees of its pool."""
    placer = Placer(engine_filters(), request_filters(), [(LeastWork(), 1.0)], make_picker("argmin"), Random(1))
    return Roster(placer, BreakerSettings(), 0.0)
