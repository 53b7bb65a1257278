"""Watermarks of a source, made of the event times that it has seen."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from pydantic import JsonValue

from sage_common.errors import SageError, UnprocessableError
from sage_kernel.runtime.elements import START_OF_TIME_US, Watermark


class WatermarkGenerator:
    """Follows the greatest event time of one source, and refuses times that would lead it astray.

    The watermark is the greatest event time less the lateness that the source allows.

    Args:
        field: the field with the event time, of type ``timestamp``.
        lateness_us: how far records may come out of order.
        idle_after_us: silence after which the source holds no other back; None for never.
        max_ahead_us: how far in the future a record may lie: one from the year 9999 would make all others late.
        now_us: the time of day.
    """

    def __init__(
        self, field: str, lateness_us: int, idle_after_us: int | None, max_ahead_us: int, now_us: Callable[[], int]
    ) -> None:
        self._field = field
        self._lateness_us = lateness_us
        self._max_ahead_us = max_ahead_us
        self._now_us = now_us
        self._greatest_us: int | None = None
        self._sent = Watermark(START_OF_TIME_US)
        self.idle_seconds = None if idle_after_us is None else idle_after_us / 1e6

    def take(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[tuple[pl.DataFrame, SageError]]]:
        """Return the records whose event time is sound, and the others with what is wrong with them."""
        times = frame.get_column(self._field).to_physical()
        limit = self._now_us() + self._max_ahead_us
        greatest = times.max()
        refused: list[tuple[pl.DataFrame, SageError]] = []
        if times.null_count() or (isinstance(greatest, int) and greatest > limit):
            for fails, what in (
                (times.is_null(), "it has no event time"),
                (times > limit, "its event time lies in the future, beyond 'max_ahead'"),
            ):
                if fails.any():
                    refused.append((frame.filter(fails), UnprocessableError(f"{what} (field {self._field!r})")))
            frame = frame.filter((times <= limit).fill_null(False))
            greatest = frame.get_column(self._field).to_physical().max()
        if isinstance(greatest, int):
            self._greatest_us = greatest if self._greatest_us is None else max(self._greatest_us, greatest)
        return frame, refused

    def advance(self) -> Watermark | None:
        """Return the watermark behind the last records, or None where it is not news."""
        if self._greatest_us is None:
            return None
        return self._news(Watermark(max(self._greatest_us - self._lateness_us, self._sent.time_us)))

    def fall_idle(self) -> Watermark | None:
        """Return the mark of a source that is silent, or None where it is not news."""
        return self._news(Watermark(self._sent.time_us, is_idle=True))

    def current(self) -> Watermark | None:
        """Return the watermark of a source that goes on from a checkpoint."""
        return self.advance()

    def state(self) -> JsonValue:
        """Return what ``restore`` needs."""
        return self._greatest_us

    def restore(self, state: JsonValue) -> None:
        """Take up the state of a checkpoint."""
        self._greatest_us = state if isinstance(state, int) else None

    def _news(self, watermark: Watermark) -> Watermark | None:
        if watermark == self._sent:
            return None
        self._sent = watermark
        return watermark
