"""Kills a pipeline again and again, and compares what it gives in the end with a run that nobody disturbed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sage_benchmark.dataflow.events import events, write_parquet
from sage_benchmark.dataflow.killed_pipeline import CONCURRENCY
from sage_benchmark.dataflow.measurement import DataflowPlan, Figure

KILLS = 10
RECORDS = 100_000
_LONGEST_SECONDS = 600.0


@dataclass(frozen=True)
class KillResult:
    """What a run with kills came to.

    Attributes:
        kills: how often the process was killed while it ran.
        lost, repeated: lines that the undisturbed run has and this one lacks, and the reverse.
        duplicate_ids: records that are in the answers more than once.
        calls: of the model, over all runs.
        calls_undisturbed: of the model in the undisturbed run.
        seconds, seconds_undisturbed: how long the runs took, without the starts of the processes.
    """

    kills: int
    lost: int
    repeated: int
    duplicate_ids: int
    calls: int
    calls_undisturbed: int
    seconds: float
    seconds_undisturbed: float

    @property
    def calls_allowed(self) -> int:
        """One pass, and the calls that were in flight at each kill."""
        return self.calls_undisturbed + self.kills * CONCURRENCY


def run_with_kills(folder: Path, records: int, kills: int, seed: int) -> KillResult:
    """Run the pipeline once undisturbed and once with ``kills`` kill -9 at seeded moments.

    Raises:
        RuntimeError: the pipeline failed by itself.
    """
    frame = events(records, seed, keys=50).with_row_index("id").with_columns(pl.col("id").cast(pl.Int64))
    source = write_parquet(folder, "events", frame)
    whole, broken = folder / "whole", folder / "broken"
    seconds_whole, _ = _run(source, whole, None)
    chance = random.Random(seed)
    done, total = 0, 0.0
    while done < kills:
        # Spread over the run; a run that had ended before its kill starts over, as one would by hand.
        seconds, killed = _run(source, broken, chance.uniform(0, 1.6 * seconds_whole / kills))
        total += seconds
        if not killed:
            break
        done += 1
    else:
        total += _run(source, broken, None)[0]
    answers = pl.read_ndjson(broken / "answers.jsonl")
    lost = repeated = 0
    for name in ("answers.jsonl", "windows.jsonl", "collection.jsonl"):
        expected, got = (sorted((place / name).read_bytes().splitlines()) for place in (whole, broken))
        lost += len(set(expected) - set(got))
        repeated += len(got) - len(expected) + len(set(expected) - set(got))
    return KillResult(
        done,
        lost,
        repeated,
        answers.height - answers["id"].n_unique(),
        (broken / "calls").stat().st_size,
        (whole / "calls").stat().st_size,
        total,
        seconds_whole,
    )


def kills(plan: DataflowPlan, folder: Path) -> list[Figure]:
    """Measure ten kill -9 in 100,000 records (fewer in a quick plan)."""
    found = run_with_kills(folder, min(RECORDS, plan.events // 10), KILLS, plan.seed)
    return [
        Figure("kill -9 survived", found.kills, "kills"),
        Figure("records lost", found.lost, "records", 0, at_most=True),
        Figure("records repeated", found.repeated + found.duplicate_ids, "records", 0, at_most=True),
        Figure("model calls beyond one pass", found.calls - found.calls_undisturbed, "calls",
               found.kills * CONCURRENCY, at_most=True),
        Figure("time undisturbed", found.seconds_undisturbed, "s"),
        Figure("time with the kills", found.seconds, "s"),
    ]  # fmt: skip


def _run(source: str, folder: Path, kill_after: float | None) -> tuple[float, bool]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "sage_benchmark.dataflow.killed_pipeline", source, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it runs, or the end of a process that could not start
        ran_from = time.monotonic()
        try:
            _, errors = process.communicate(timeout=_LONGEST_SECONDS if kill_after is None else kill_after)
            killed = False
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            _, errors = process.communicate()
            killed = process.returncode == -signal.SIGKILL
    if not killed and process.returncode:
        raise RuntimeError(f"the pipeline failed by itself: {errors.strip()[-500:]}")
    return time.monotonic() - ran_from, killed
