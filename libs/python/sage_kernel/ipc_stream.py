"""Frames as Arrow IPC streams in memory or in a file."""

from __future__ import annotations

from typing import IO, Literal

import polars as pl


def write_ipc_stream(
    frame: pl.DataFrame, file: IO[bytes], compression: Literal["uncompressed", "lz4"] = "uncompressed"
) -> None:
    """Write a frame to a file of Python's, in any thread. Raises OSError as ``file`` does."""
    # Polars (2.1) keeps a frame locked while it writes, and needs Python's lock for each piece. Who holds that lock and
    # only asks for the frame's height waits for ever. The clone shares the data and has a lock of its own.
    frame.clone().write_ipc_stream(file, compression=compression)
