"""Taking a source's batches one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import polars as pl

from sage_kernel.foreign_errors import foreign
from sage_kernel.operator import SourceBatch


async def next_batch(batches: AsyncIterator[SourceBatch]) -> SourceBatch | None:
    """Return the next batch, or None when the split has been read to its end. Raises UnprocessableError on a panic."""
    try:
        return await batches.__anext__()
    except StopAsyncIteration:
        return None
    except pl.exceptions.PanicException as error:
        raise foreign(error) from error
