"""Whose number counts."""

from __future__ import annotations

import pytest

from sage_control_plane.request.engine_state import CapacitySource, EngineSpec
from sage_mesh.engine_capacity import TECHNICAL_CEILING, with_capacity

SPEC = EngineSpec("e", "openai", ())


@pytest.mark.parametrize(
    ("ceiling", "told", "expected"),
    [
        (None, None, (TECHNICAL_CEILING, CapacitySource.UNKNOWN)),
        (None, 4, (4, CapacitySource.TOLD)),
        (None, 4096, (4096, CapacitySource.TOLD)),
        (8, None, (8, CapacitySource.CONFIGURED)),
        (8, 4, (4, CapacitySource.TOLD)),
        (8, 8, (8, CapacitySource.TOLD)),
        (4, 8, (4, CapacitySource.CONFIGURED)),
    ],
)
def test_the_smaller_of_a_ceiling_and_what_the_server_says_counts(
    ceiling: int | None, told: int | None, expected: tuple[int, CapacitySource]
) -> None:
    spec = with_capacity(SPEC, ceiling=ceiling, told=told)
    assert (spec.max_concurrency, spec.capacity_source) == expected


def test_a_spec_that_says_so_already_stays_the_same_object() -> None:
    spec = with_capacity(SPEC, ceiling=None, told=4)
    assert with_capacity(spec, ceiling=9, told=4) is spec
