"""The benchmark of pipelines: each measurement in a process of its own, on one core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson

from sage_benchmark.dataflow.measurement import DataflowPlan, Figure
from sage_common.errors import InvalidRequestError, UnavailableError

_LONGEST_SECONDS = 1800


@dataclass(frozen=True)
class DataflowResult:
    """What was found.

    Attributes:
        figures: by measurement.
        failed: by measurement, why there are none.
    """

    plan: DataflowPlan
    figures: Mapping[str, Sequence[Figure]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_reached(self) -> bool:
        """Whether every figure with a bar reached it and nothing failed."""
        return not self.failed and all(f.is_reached is not False for figures in self.figures.values() for f in figures)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "plan": asdict(self.plan),
            "figures": {name: [figure.to_json() for figure in figures] for name, figures in self.figures.items()},
            "failed": dict(self.failed),
        }


def quick_plan(plan: DataflowPlan) -> DataflowPlan:
    """Return a plan that shows that everything works."""
    return replace(plan, events=min(plan.events, 100_000), repetitions=1)


def run(plan: DataflowPlan, names: Sequence[str], on_step: Callable[[str], None]) -> DataflowResult:
    """Measure; one that fails takes no other along.

    Args:
        names: of measurements; empty for all.

    Raises:
        InvalidRequestError: there is no measurement of such a name.
    """
    from sage_benchmark.dataflow.measurements import MEASUREMENTS

    for name in names:
        if name not in MEASUREMENTS:
            raise InvalidRequestError(f"there is no measurement {name!r}; known: {', '.join(MEASUREMENTS)}")
    figures: dict[str, list[Figure]] = {}
    failed: dict[str, str] = {}
    for name in names or MEASUREMENTS:
        on_step(f"measuring {name}")
        try:
            figures[name] = measure(name, plan)
            for figure in figures[name]:
                on_step(f"  {figure.name}: {figure.value:,.4g} {figure.unit}")
        except UnavailableError as error:
            failed[name] = error.message
    return DataflowResult(plan, figures, failed)


def measure(name: str, plan: DataflowPlan) -> list[Figure]:
    """Take the figures of one measurement. Raises UnavailableError where it fails."""
    core = max(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "sage_benchmark.dataflow", name, orjson.dumps(asdict(plan)).decode()]
    environment = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            ["taskset", "-c", str(core), *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LONGEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{name} took longer than {_LONGEST_SECONDS} s") from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise UnavailableError(f"{name} failed: {last[0]}")
    return [Figure(**{**value, "runs": tuple(value["runs"])}) for value in orjson.loads(done.stdout.splitlines()[-1])]
