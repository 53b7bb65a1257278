from __future__ import annotations

from pathlib import Path

import pytest

from sage_benchmark.dataflow.kills import KILLS, RECORDS, run_with_kills


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("records", "kills"),
    [(1_500, 3), pytest.param(RECORDS, KILLS, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
)
def test_a_pipeline_that_is_killed_again_and_again_loses_and_repeats_nothing(
    records: int, kills: int, tmp_path: Path
) -> None:
    found = run_with_kills(tmp_path, records, kills, seed=11)
    assert (found.lost, found.repeated, found.duplicate_ids) == (0, 0, 0)
    assert found.kills > 0
    assert found.calls <= found.calls_allowed
