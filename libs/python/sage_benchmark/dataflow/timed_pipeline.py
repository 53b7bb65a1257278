"""Running a pipeline of a benchmark with the local runner, and checking what it gives."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Mapping
from typing import Any

from sage_benchmark.dataflow.measurement import Spent
from sage_kernel.model_port import ModelPort
from sage_kernel.run_context import Sleep
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.runtime.progress import OnProgress
from sage_kernel.state.checkpoint import CheckpointStore
from sage_kernel.validation import from_dict

NO_MODELS: ModelPort = None  # type: ignore[assignment]


def run(
    nodes: Mapping[str, Any],
    expected: Mapping[str, int],
    checkpoints: CheckpointStore | None = None,
    settings: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
    sleep: Sleep = asyncio.sleep,
) -> Spent:
    """Run a pipeline that ends in one record of the collection ``out``, and return what it took.

    Args:
        sleep: the pipeline's time.

    Raises:
        RuntimeError: the record has other values than ``expected``.
    """
    spec = from_dict(
        {
            "apiVersion": "sage/v1",
            "kind": "Pipeline",
            "metadata": {"name": "benchmark"},
            "settings": dict(settings or {}),
            "nodes": dict(nodes),
        }
    )
    gc.collect()
    cpu = time.process_time()
    result = asyncio.run(LocalRunner(NO_MODELS, sleep=sleep).run(spec, on_progress, checkpoints))
    cpu = time.process_time() - cpu
    (record,) = result.collections["out"]
    if any(record[name] != value for name, value in expected.items()):
        raise RuntimeError(f"the pipeline gave {record}, expected {dict(expected)}")
    return Spent(result.seconds, cpu)


def counted(behind: str, **aggregates: str) -> dict[str, Any]:
    """Return nodes that make one record of what a node gives out, so that the end of a pipeline costs nothing."""
    return {
        "whole": {"op": "aggregate", "in": behind, "aggs": aggregates},
        "out": {"op": "sink", "in": "whole", "uri": "collection:out"},
    }
