"""A bounded stream as one group in time: given out at its end."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from sage_kernel.event_time.combiner import Combiner
from sage_kernel.event_time.partial_frames import PartialFrames
from sage_kernel.event_time.window_output import in_order
from sage_kernel.operator import Emission, State

# A field's name has no colon, so it meets none of the record's.
_ALL = ":all"


class WholeStream:
    """A stateful operator that groups records by key alone.

    Without a key there is one group; a stream without records gives out none.

    Args:
        combiner: makes, merges and finishes partial results.
        key: fields to group by; may be empty.
    """

    def __init__(self, combiner: Combiner, key: Sequence[str]) -> None:
        self._combiner = combiner
        self._key = list(key)
        self._by = self._key or [_ALL]
        self._groups = PartialFrames(lambda frame: combiner.merge(frame, self._by))

    def on_batch(self, frame: pl.DataFrame, input_index: int) -> Sequence[Emission]:
        """Count records in their groups."""
        if frame.height:
            self._groups.add(self._combiner.partial(self._with_group(frame), self._by))
        return ()

    def on_watermark(self, time_us: int) -> Sequence[Emission]:
        """Wait for the end."""
        return ()

    def on_end(self) -> Sequence[Emission]:
        """Give out every group."""
        if self._groups.rows:
            groups = self._groups.merged()
            self._groups.replace(None, is_merged=True)
            return (Emission(in_order(groups, self._by).select(*self._key, *self._combiner.finish())),)
        return ()

    def partials(self) -> pl.DataFrame | None:
        """Return the groups, each once."""
        return self._groups.merged() if self._groups.rows else None

    def absorb(self, partials: pl.DataFrame) -> None:
        """Take the groups of another operator."""
        self._groups.add(partials)

    def snapshot(self) -> State:
        """Return the groups."""
        groups = self._groups.all()
        return State({}, {} if groups is None else {"groups": groups})

    def restore(self, state: State) -> None:
        """Take up ``state``."""
        self._groups.replace(state.frames.get("groups"), is_merged=False)

    def _with_group(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame if self._key else frame.with_columns(pl.lit(0).alias(_ALL))
