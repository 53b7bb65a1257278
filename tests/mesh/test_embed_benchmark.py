"""``sage bench embed`` as people run it: a process of its own, with a mesh of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

# A minute on two idle cores; several on busy ones, where nothing is wrong for it.
SECONDS = 400
STOP_SECONDS = 45
# torch in fp32 needs neither a trial nor an export.
SETTINGS = {"SAGE_EMBED_EXECUTOR_STREAMS": "2", "HF_HUB_OFFLINE": "1"}
COMMAND = ("bench", "embed", "--quick", "--json", "--backend", "torch", "--precision", "fp32", "--output")


@pytest.mark.long
@pytest.mark.timeout(SECONDS + STOP_SECONDS + 15)
def test_the_embedding_benchmark_measures_every_figure(tmp_path: Path) -> None:
    homes = {f"XDG_{name}_HOME": str(tmp_path / name.lower()) for name in ("CACHE", "CONFIG", "DATA", "STATE")}
    running = subprocess.Popen(
        [sys.executable, "-m", "sage_cli", *COMMAND, str(tmp_path / "out")],
        env={**os.environ, **homes, **SETTINGS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        printed, said = running.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        # Interrupted, not killed: it takes its mesh down.
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=STOP_SECONDS)
        raise
    assert running.returncode == 0, said.decode(errors="replace")[-2_000:]
    result = orjson.loads(printed)
    assert "torch" in result["offline"]["backend"]
    assert result["rates"].keys() == {"offline", "requests of 32", "single texts"}
    assert all(rate > 1 for rate in result["rates"].values())
    idle, beside, asked = result["idle"], result["interference"], result["plan"]["interactive_requests"]
    assert idle["end_to_end_p50_ms"] > idle["inference_p50_ms"] > 0
    assert len(beside["alone_ms"]) == len(beside["beside_ms"]) == beside["requests"] == asked
    assert beside["alone_p99_ms"] >= beside["alone_p50_ms"] > 0
    assert beside["beside_p99_ms"] >= beside["beside_p50_ms"] > 0
    assert beside["bulk_texts"] > 0
    assert beside["bulk_texts_per_second"] > 0
    assert result["duplicates_computed"] == 1
    assert result["vectors"]["largest_difference"] < 1e-4
    assert result["vectors"]["least_cosine"] > 0.9999
    assert result["memory"]["texts"] > 0
    assert len(result["memory"]["samples_mb"]) >= 8
    # Whether the bars are reached is a matter of the machine; that each was measured is not.
    assert len(result["bars"]) == 7
    assert all(bar["reached"] in (True, False) and bar["value"] is not None for bar in result["bars"])
    assert [reason.partition(":")[0] for reason in result["left_out"]] == ["STS-B", "peers"]
    assert orjson.loads((tmp_path / "out" / "result.json").read_bytes()) == result
    assert "| requests of 32 |" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "chart.png").stat().st_size > 1_000
