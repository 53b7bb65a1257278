"""Partitions of a stream that the server's subject mapping has made: ``partition(n, token…)`` puts a number into a
subject, the FNV-1a hash of the tokens' text modulo n (nats-server, ``server/subject_transform.go``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.operator import Refused

PLACE = "{partition}"
# As long as a subject may be, and so no token is longer.
_LONGEST_BYTES = 4096


@dataclass(frozen=True)
class SubjectPartitions:
    """How a subject is partitioned.

    Attributes:
        subject: with ``{partition}`` in place of the token that the mapping writes.
        count: how many there are.
        fields: those of a record whose values, joined, were hashed; empty where that is not known.
    """

    subject: str
    count: int
    fields: tuple[str, ...] = ()

    def subjects(self, numbers: Sequence[int]) -> list[str]:
        """Return the subjects of these partitions."""
        return [self.subject.replace(PLACE, str(number)) for number in numbers]

    def sort_out(self, frame: pl.DataFrame, numbers: Sequence[int]) -> tuple[pl.DataFrame, list[Refused]]:
        """Return the records that belong to these partitions, and those that the mapping would have put elsewhere.

        Another task reads the other records of such a record's key: what is grouped here would lack them.
        """
        if not self.fields or not frame.height:
            return frame, []
        values = frame.select(self.fields)
        distinct = values.unique()
        numbered = distinct.with_columns(
            pl.Series("\0partition", [self.partition_of(row) for row in distinct.rows()], dtype=pl.Int64)
        )
        is_here = (
            values.join(numbered, on=list(self.fields), how="left", nulls_equal=True, maintain_order="left")
            .get_column("\0partition")
            .is_in(list(numbers))
            .fill_null(value=False)
        )
        if is_here.all():
            return frame, []
        misplaced = frame.filter(~is_here)
        error = UnprocessableError(
            f"{self._shown(misplaced)} came in partition {', '.join(map(str, numbers))} of {self.subject!r}, where "
            f"partition({self.count}, …) of {' + '.join(self.fields)} puts no such record; have the subject mapping "
            "hash the tokens that these fields were published with, or correct 'partition_by'",
            code="misplaced_record",
        )
        raw = misplaced.select(pl.struct(pl.all()).struct.json_encode().alias("raw"))
        return frame.filter(is_here), [Refused(raw.with_columns(place=pl.lit(None, pl.String())), error)]

    def partition_of(self, values: Sequence[str | int | None]) -> int | None:
        """Return in which partition a record with these values of the fields is; None where it can be in none."""
        if any(value is None for value in values):
            return None
        key = "".join(map(str, values)).encode("utf-8", "replace")
        return _hash(key) % self.count if len(key) <= _LONGEST_BYTES else None

    def _shown(self, misplaced: pl.DataFrame) -> str:
        row = misplaced.select(self.fields).row(0, named=True)
        return ", ".join(f"{name}={str(value)[:60]!r}" for name, value in row.items())


@lru_cache(maxsize=65_536)
def _hash(key: bytes) -> int:
    value = 0x811C9DC5
    for byte in key:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value
