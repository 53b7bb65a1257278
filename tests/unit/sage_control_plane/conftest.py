"""A view of a pool without engines."""

from __future__ import annotations

from random import Random

import pytest

from sage_control_plane.placement.filters import engine_filters, request_filters
from sage_control_plane.placement.pickers import make_picker
from sage_control_plane.placement.placer import Placer
from sage_control_plane.placement.scorers import LeastWork
from sage_control_plane.policies.admission import Admission, AdmissionSettings
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.pool.pool_view import EnginePoolView
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.settings import ControlSettings


@pytest.fixture(scope="session")
def view() -> EnginePoolView:
    """What policies see of a pool without engines."""
    placer = Placer(engine_filters(0.1), request_filters(), [(LeastWork(), 1.0)], make_picker("argmin"), Random(1))
    engines = EnginePool(placer, ControlSettings(), PrefixIndex())
    return EnginePoolView(engines, Admission(AdmissionSettings()))
