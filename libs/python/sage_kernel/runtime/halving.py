"""Finding the records that make a batch fail: one that is bad does not take the others along."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import polars as pl

from sage_kernel.problems import NodeFailedError
from sage_kernel.runtime.failures import FailedRecords

R = TypeVar("R")


@dataclass(frozen=True)
class Piece(Generic[R]):
    """A part of a batch: its ``result``, or a single record with the ``error`` that it makes."""

    frame: pl.DataFrame
    result: R | None = None
    error: Exception | None = None


async def in_pieces(
    frame: pl.DataFrame,
    call: Callable[[pl.DataFrame], Awaitable[R]],
    failed: FailedRecords,
    to_blame: Callable[[pl.DataFrame], pl.DataFrame | None] = lambda frame: frame,
) -> list[Piece[R]]:
    """Return what ``call`` makes of ``frame``: whole, or, where it raises, of its halves.

    Args:
        to_blame: returns, where a failure ends the run, the record that it is reported with.

    Raises:
        NodeFailedError: ``call`` raised it, or a record failed whose node does not put records aside.
    """
    try:
        return [Piece(frame, await call(frame))]
    except NodeFailedError:
        raise
    except Exception as error:
        if failed.are_fatal:
            raise failed.failed(error, to_blame(frame)) from error
        if frame.height <= 1:
            return [Piece(frame, error=error)]
    half = frame.height // 2
    first = await in_pieces(frame[:half], call, failed, to_blame)
    return first + await in_pieces(frame[half:], call, failed, to_blame)
