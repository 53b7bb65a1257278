"""A sink that is slow for minutes: the source waits for it, and memory stays flat.

``SOAK_SECONDS=600 pytest -m soak tests/soak/test_slow_sink.py`` runs it for as long as is wanted.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import psutil
import pytest

SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))
# The queues and the allocator have what they take by then.
WARM_UP_SECONDS = min(20.0, SECONDS / 4)
GROWTH_BYTES = 64 * 1024 * 1024
ROWS, FILES, COPIES = 200_000, 4, 10
# A quarter of what there is, in the time that there is.
RECORDS_PER_SECOND = ROWS * FILES * COPIES / 4 / SECONDS

pytestmark = [pytest.mark.soak, pytest.mark.timeout(SECONDS + 180)]

# Files before a sink of a few thousand records a second: what is read and not written would fill memory.
PROGRAM = """
import asyncio, sys
import sage_kernel.connectors.print_sink as print_sink
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.validation import from_yaml

RATE = float(sys.argv[2])

class SlowSink(print_sink.PrintSink):
    async def write(self, frame):
        # A batch may take half a minute; it is told of four times a second.
        left = frame.height
        while left:
            part = min(left, max(1, int(RATE / 4)))
            await asyncio.sleep(part / RATE)
            sys.stdout.write(f"{part}\\n")
            sys.stdout.flush()
            left -= part

import sage_kernel.operators.sink as sink
sink.PrintSink = SlowSink
asyncio.run(LocalRunner(None).run(from_yaml(sys.argv[1])))
"""


def pipeline(folder: Path) -> str:
    nodes = {
        "lines": {"op": "source", "uri": f"parquet:{folder}/*.parquet", "schema": {"n": "int", "text": "string"}},
        "long": {"op": "map", "in": "lines", "fields": {"twice": "text || text"}},
        "many": {"op": "map", "in": "long", "fields": {"copies": "STRING_TO_ARRAY('a b c d e f g h i j', ' ')"}},
        "all": {"op": "flat_map", "in": "many", "explode": "copies"},
        "out": {"op": "sink", "in": "all", "uri": "print:"},
    }
    return json.dumps({"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "slow"}, "nodes": nodes})


def growth(resident: Sequence[int]) -> int:
    """Return by how much the last half's median lies above the first half's, in bytes."""
    half = len(resident) // 2
    first, second = sorted(resident[:half]), sorted(resident[half:])
    return second[len(second) // 2] - first[len(first) // 2]


async def test_memory_stays_flat_beside_a_slow_sink(tmp_path: Path) -> None:
    for number in range(FILES):
        frame = pl.DataFrame({"n": range(ROWS), "text": ["x" * 200] * ROWS})
        frame.write_parquet(tmp_path / f"{number}.parquet", row_group_size=4000)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, pipeline(tmp_path), str(RECORDS_PER_SECOND), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    taken, resident = 0, []
    loop = asyncio.get_running_loop()
    try:
        await process.stdout.readline()
        began = loop.time()
        while (now := loop.time() - began) < SECONDS:
            taken += int(await asyncio.wait_for(process.stdout.readline(), 30))
            if now >= WARM_UP_SECONDS:
                resident.append(psutil.Process(process.pid).memory_info().rss)
        # It is still at it: what was read is what was written, and a little.
        assert process.returncode is None
    finally:
        process.kill()
        await process.communicate()
    assert 0 < taken < ROWS * FILES * COPIES / 2
    assert growth(resident) < GROWTH_BYTES, f"{resident[0] / 1e6:.0f} MB at first, {resident[-1] / 1e6:.0f} at the end"
