from __future__ import annotations

import pytest
from fixtures.fake_models import FakeModels


@pytest.fixture
def models() -> FakeModels:
    return FakeModels()
