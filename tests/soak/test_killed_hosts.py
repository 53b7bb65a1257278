"""Mixed load on three hosts whose processes are killed all the time: nothing is lost, nothing hangs, memory stays flat.

Half an hour, as root. ``SAGE_SOAK_SECONDS=300 pytest -m soak tests/soak/test_killed_hosts.py`` runs it for as long as
is wanted; in less than some minutes little is killed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sage_benchmark.hosts.host_network import why_impossible
from sage_benchmark.soak.soak_benchmark import run
from sage_benchmark.soak.soak_plan import SoakPlan

SECONDS = float(os.environ.get("SAGE_SOAK_SECONDS", "1800"))
SEED = int(os.environ.get("SAGE_SOAK_SEED", "1"))

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 900)]


@pytest.fixture(autouse=True)
def _possible() -> None:
    if reason := why_impossible():
        pytest.skip(reason)


def test_half_an_hour_of_kills_loses_doubles_and_hangs_nothing(tmp_path: Path) -> None:
    result = run(SoakPlan(SECONDS, seed=SEED), tmp_path / "hosts")
    missed = [f"{bar.name}: {bar.value:g}, not {bar.bar:g}" for bar in result.bars if not bar.reached]
    told = json.dumps({**result.figures, "kills": len(result.figures["kills"])}, indent=1, default=str)
    assert missed == [], told
    requests = result.figures["requests"]
    assert all(sum(of_work.values()) for of_work in requests.values()), "every kind of work was done"
    killed = {kill["service"] for kill in result.figures["kills"]}
    assert SECONDS < 900 or len(killed) == 8, "every kind of process was killed"
