from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sage_common.errors import ContendedError
from sage_kernel.model_port import Embeddings
from sage_middleware.knowledge import patient_embedding
from sage_middleware.knowledge.patient_embedding import CALLS_AT_ONCE, PatientEmbedding


class BusyModels:
    """Refuses the first calls, and counts how many come at once."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.now = self.most = 0

    async def embed(self, texts: Sequence[str], model: str | None = None) -> Embeddings:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        if self.refusals:
            self.refusals -= 1
            raise ContendedError("busy", retry_after_seconds=60)
        return Embeddings(np.ones((len(texts), 2), dtype=np.float32), "ones")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_embedding, "LONGEST_WAIT_SECONDS", 0)


async def test_few_calls_run_at_once_and_a_busy_mesh_is_asked_again() -> None:
    models: Any = BusyModels(refusals=30)
    calls = PatientEmbedding(models)
    answers = await asyncio.gather(*(calls.embed(["a"], None) for _ in range(20)))
    assert len(answers) == 20
    assert models.most == CALLS_AT_ONCE


async def test_a_mesh_that_stays_busy_is_an_error_in_the_end() -> None:
    models: Any = BusyModels(refusals=10_000)
    with pytest.raises(ContendedError):
        await PatientEmbedding(models).embed(["a"], None)
