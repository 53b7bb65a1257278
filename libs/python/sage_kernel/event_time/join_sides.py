"""What the two kinds of join share: the columns of a pair, and keys that can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

RIGHT_SUFFIX = "_right"
# A field's name has no colon, so these columns meet none of the record's.
_KEY = ":key"


@dataclass(frozen=True)
class JoinColumns:
    """The columns of a pair: those of the left record, and those of the right one under names of their own.

    Attributes:
        left_on, right_on: fields that must be equal, in the same order.
        renamed: by the right record's field, its name in a pair; fields that are left out are not here.
        casts: by the position of a key, the type in which it is compared.
    """

    left_on: tuple[str, ...]
    right_on: tuple[str, ...]
    renamed: Mapping[str, str]
    casts: Mapping[int, pl.DataType]

    @property
    def keys(self) -> list[str]:
        """Names of the columns with the keys as they are compared."""
        return [f"{_KEY}{number}" for number in range(len(self.left_on))]

    def with_keys(self, frame: pl.DataFrame, on: Sequence[str]) -> pl.DataFrame:
        """Return ``frame`` with the columns of ``keys``."""
        return frame.with_columns(
            (pl.col(name).cast(self.casts[number]) if number in self.casts else pl.col(name)).alias(key)
            for number, (name, key) in enumerate(zip(on, self.keys, strict=True))
        )

    def is_keyed(self, frame: pl.DataFrame) -> pl.Series:
        """Return for each row whether no key is null: null equals nothing."""
        return frame.select(pl.all_horizontal(pl.col(key).is_not_null() for key in self.keys)).to_series()

    def pairs(
        self,
        left: pl.DataFrame,
        left_rows: npt.NDArray[np.int64],
        right: pl.DataFrame,
        right_rows: npt.NDArray[np.int64],
    ) -> pl.DataFrame:
        """Return the pairs of these rows."""
        # Only the columns that a pair has are gathered.
        theirs = right.select(list(self.renamed))[right_rows]
        return self.pairs_of(left.drop(self.keys, strict=False)[left_rows], theirs)

    def pairs_of(self, left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
        """Return pairs of the records that stand side by side."""
        keys = set(self.keys)
        ours = [column for column in left.get_columns() if column.name not in keys]
        return pl.DataFrame([*ours, *(right.get_column(name).rename(new) for name, new in self.renamed.items())])

    def unmatched(self, left: pl.DataFrame, right_types: Mapping[str, pl.DataType]) -> pl.DataFrame:
        """Return left records with null in place of the right one."""
        return left.drop(self.keys, strict=False).with_columns(
            pl.lit(None, right_types[name]).alias(new) for name, new in self.renamed.items()
        )
