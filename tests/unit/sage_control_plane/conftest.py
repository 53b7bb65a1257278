"""A view of a pool without engines."""

from __future__ import annotations

import pytest

from sage_control_plane.policies.admission import Admission, AdmissionSettings
from sage_control_plane.pool.breaker import BreakerSettings
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.pool.engine_pool_view import EnginePoolView
from sage_control_plane.pool.learning import PoolLearning
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.pool.saturation import Saturation
from sage_control_plane.prediction.settings import PredictionSettings


@pytest.fixture(scope="session")
def view() -> EnginePoolView:
    """What policies see of a pool without engines."""
    learning = PoolLearning(PredictionSettings())
    load = Saturation(learning.fits, prompt_seconds=0.1)
    engines = EnginePool(lambda entry: True, learning, PrefixIndex(), load, BreakerSettings(), headroom=0.1)
    return EnginePoolView(engines, learning, Admission(AdmissionSettings()))
