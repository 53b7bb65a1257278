"""Seeded streams of events, as files: time, key and amount, nearly in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from sage_kernel.schema import TIMESTAMP

KEYS = 1_000
EVENTS_PER_SECOND = 1_000
LATENESS = "5s"
SCHEMA = {"ts": "timestamp", "k": "int", "amount": "int"}
_DISORDER_US = 5_000_000
_START_US = 1_767_225_600_000_000  # 2026-01-01


def events(count: int, seed: int, keys: int = KEYS) -> pl.DataFrame:
    """Return ``count`` events, 1,000 a second of event time, up to ``LATENESS`` out of order."""
    random = np.random.default_rng(seed)
    times = np.arange(count, dtype=np.int64) * (1_000_000 // EVENTS_PER_SECOND)
    order = np.argsort(times + random.integers(0, _DISORDER_US, count), kind="stable")
    frame = pl.DataFrame(
        {"ts": _START_US + times[order], "k": random.integers(0, keys, count), "amount": random.integers(1, 100, count)}
    )
    return frame.with_columns(pl.col("ts").cast(TIMESTAMP))


def write_parquet(folder: Path, name: str, frame: pl.DataFrame) -> str:
    """Write a file and return the URI of a source that reads it."""
    path = folder / f"{name}.parquet"
    frame.write_parquet(path, row_group_size=131_072)
    return f"parquet:{path}"


def write_jsonl(folder: Path, name: str, frame: pl.DataFrame) -> str:
    """Write a file and return the URI of a source that reads it."""
    path = folder / f"{name}.jsonl"
    text = pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    frame.with_columns(text).write_ndjson(path)
    return f"jsonl:{path}"
