"""Names in a message to people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MAX_SHOWN_NAMES: Final = 10


def shown_names(names: Iterable[str]) -> str:
    """Return the first ten names in order, and how many there are beside them; empty for none."""
    ordered = sorted(names)
    more = len(ordered) - MAX_SHOWN_NAMES
    return ", ".join(ordered[:MAX_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
