"""What ``retrieve`` asks of an index, whoever made it: an ``index`` node of the pipeline, or a knowledge base."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import polars as pl


class Hit(NamedTuple):
    """A record found, without its vector, and its score: greater is nearer."""

    record: dict[str, Any]
    score: float


class SearchIndex(Protocol):
    """Records that can be searched by vector."""

    @property
    def hit_type(self) -> pl.Struct:
        """The type of a hit: the fields of a record and ``score``."""
        ...

    def search(self, vector: Any, k: int, words: str = "") -> list[Hit]:
        """Return the ``k`` best records, best first.

        Args:
            words: what is asked, for an index that compares words too.

        Raises:
            ValueError: a vector that does not fit.
        """
        ...
