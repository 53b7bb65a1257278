"""A view of a pool without engines."""

from __future__ import annotations

from random import Random

import pytest

from sage_control_plane.admission import Admission, AdmissionSettings
from sage_control_plane.placement.filters import engine_filters, request_filters
from sage_control_plane.placement.pickers import make_picker
from sage_control_plane.placement.placer import Placer
from sage_control_plane.placement.prefix_index import PrefixIndex
from sage_control_plane.placement.scorers import LeastWork
from sage_control_plane.pool_view import RosterView
from sage_control_plane.roster import Roster
from sage_control_plane.settings import ControlSettings


@pytest.fixture(scope="session")
def view() -> RosterView:
    """What policies see of a pool without engines."""
    placer = Placer(engine_filters(0.1), request_filters(), [(LeastWork(), 1.0)], make_picker("argmin"), Random(1))
    roster = Roster(placer, ControlSettings(), PrefixIndex())
    return RosterView(roster, Admission(AdmissionSettings()))
