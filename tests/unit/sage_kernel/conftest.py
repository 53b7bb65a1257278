from __future__ import annotations

import pytest
from fixtures.fake_models import FakeModels
from hypothesis import settings


@pytest.fixture
def models() -> FakeModels:
    return FakeModels()


# Other work on the machine must not fail an example that is slow by the clock.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
