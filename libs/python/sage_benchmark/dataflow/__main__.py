"""One measurement in a process of its own: ``python -m sage_benchmark.dataflow NAME PLAN``; prints JSON."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import orjson

from sage_benchmark.dataflow.measurement import DataflowPlan
from sage_benchmark.dataflow.measurements import MEASUREMENTS


def main(name: str, plan: str) -> None:
    """Measure and print the figures."""
    with tempfile.TemporaryDirectory(prefix="sage-bench-") as folder:
        figures = MEASUREMENTS[name](DataflowPlan(**orjson.loads(plan)), Path(folder))
    print(orjson.dumps([figure.__dict__ for figure in figures]).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
