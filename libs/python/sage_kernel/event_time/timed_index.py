"""Records by key and time, in memory: which of them have the key of a probe and lie in its interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint64]

# Of a code's 64 bits: the rest are of the key's hash.
_TIME_BITS = 40
_MOST_TIME = 2**_TIME_BITS - 1
_FINEST_US = 1_000
# Candidates that are compared at once; what matches may be far more than what came in.
_PIECE = 262_144
# A run is freed of what has expired when that is this share of it.
_EXPIRED_SHARE = 0.25


@dataclass(eq=False)
class Run:
    """Records sorted by their codes. ``is_matched`` is the caller's to set."""

    codes: Codes
    times: Ints
    frame: pl.DataFrame
    is_matched: npt.NDArray[np.bool_] = field(repr=False)

    @property
    def rows(self) -> int:
        """How many records it holds."""
        return len(self.codes)

    def kept(self, keep: npt.NDArray[np.bool_]) -> Run:
        """Return the run without the other records."""
        return Run(self.codes[keep], self.times[keep], self.frame.filter(pl.Series(keep)), self.is_matched[keep])


class Matches(NamedTuple):
    """Pairs: a row of the probe, and a row of a run."""

    probe_rows: Ints
    run: Run
    run_rows: Ints


class TimedIndex:
    """An index that grows with a stream: sorted runs, merged so that each is at most half of the one before it.

    A code is part of a key's hash and a coarse time, so that records of one key that are near in time are near in a
    run. Codes only narrow the search: key and time are compared themselves.

    Args:
        keys: columns with the key; a record with a null in one matches nothing, and must not be added.
        width_us: how long the intervals are that will be asked for.
    """

    def __init__(self, keys: Sequence[str], width_us: int) -> None:
        self._keys = list(keys)
        self._grain_us = max(_FINEST_US, width_us // 1024)
        self._base: int | None = None
        self.runs: list[Run] = []

    @property
    def rows(self) -> int:
        """How many records it holds."""
        return sum(run.rows for run in self.runs)

    def add(self, frame: pl.DataFrame, times: Ints, is_matched: npt.NDArray[np.bool_] | None = None) -> None:
        """Add records with these times."""
        if not frame.height:
            return
        if self._base is None:
            self._base = int(times[0]) // self._grain_us - _MOST_TIME // 2
        flags = np.zeros(frame.height, np.bool_) if is_matched is None else is_matched
        self.runs.append(_sorted(self._codes(_hashes(frame, self._keys), times), times, frame, flags))
        while len(self.runs) > 1 and self.runs[-2].rows < 2 * self.runs[-1].rows:
            newer, older = self.runs.pop(), self.runs.pop()
            self.runs.append(
                _sorted(
                    np.concatenate((older.codes, newer.codes)),
                    np.concatenate((older.times, newer.times)),
                    pl.concat([older.frame, newer.frame], how="vertical"),
                    np.concatenate((older.is_matched, newer.is_matched)),
                )
            )

    def search(self, probe: pl.DataFrame, low_us: Ints, high_us: Ints) -> Iterator[Matches]:
        """Yield the records with the key of each row of ``probe`` and a time from ``low_us`` to ``high_us``, both
        included. The keys of the probe are in columns of the same names and types, without null."""
        if not self.runs or not probe.height:
            return
        hashes = _hashes(probe, self._keys)
        low, high = self._codes(hashes, low_us), self._codes(hashes, high_us)
        # In the order of the codes a search goes on where the last one ended: fewer cache misses.
        order = np.argsort(low)
        for run in self.runs:
            first = np.searchsorted(run.codes, low[order], "left")
            count = np.searchsorted(run.codes, high[order], "right") - first
            for rows, positions in _pieces(first, count):
                probe_rows = order[rows]
                times = run.times[positions]
                fits = (times >= low_us[probe_rows]) & (times <= high_us[probe_rows])
                probe_rows, positions = probe_rows[fits], positions[fits]
                for key in self._keys:
                    ours = probe.get_column(key).gather(probe_rows)
                    same = (ours == run.frame.get_column(key).gather(positions)).to_numpy()
                    if not same.all():
                        probe_rows, positions = probe_rows[same], positions[same]
                if len(positions):
                    yield Matches(probe_rows, run, positions)

    def expire(self, before_us: int) -> None:
        """Forget records before this time, as soon as there are enough of them."""
        kept = []
        for run in self.runs:
            keep = run.times >= before_us
            expired = run.rows - int(keep.sum())
            if expired == run.rows:
                continue
            kept.append(run.kept(keep) if expired > _EXPIRED_SHARE * run.rows else run)
        self.runs = kept

    def _codes(self, hashes: Codes, times: Ints) -> Codes:
        base = self._base or 0
        coarse = np.clip(times // self._grain_us - base, 0, _MOST_TIME).astype(np.uint64)
        return (hashes << np.uint64(_TIME_BITS)) | coarse


def _hashes(frame: pl.DataFrame, keys: Sequence[str]) -> Codes:
    hashes = np.zeros(frame.height, np.uint64)
    for key in keys:
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + frame.get_column(key).hash().to_numpy()
    return hashes


def _sorted(codes: Codes, times: Ints, frame: pl.DataFrame, is_matched: npt.NDArray[np.bool_]) -> Run:
    order = np.argsort(codes, kind="stable")
    return Run(codes[order], times[order], frame[order], is_matched[order])


def _pieces(first: Ints, count: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield pairs of row and position: for each row the ``count`` positions from ``first`` on, so many at once."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, _PIECE):
        numbers = np.arange(start, min(start + _PIECE, total))
        rows = np.searchsorted(ends, numbers, "right")
        yield rows, first[rows] + numbers - (ends[rows] - count[rows])
