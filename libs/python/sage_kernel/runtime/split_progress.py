"""Which splits of a source have been read, and how far the one is that is being read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import orjson
from pydantic import JsonValue

from sage_kernel.operator import Position, Split
from sage_kernel.problems import PositionGoneError


class SplitProgress:
    """Knows splits by their values, not by their places: files that come or go beside them change nothing.

    Attributes:
        position: where to go on in the split that is being read; None for its beginning.
    """

    def __init__(self) -> None:
        self._done: list[Split] = []
        self._current: Split = None
        self._is_in_split = False
        self.position: Position = None

    def begin(self, splits: Sequence[Split]) -> Iterator[Split]:
        """Yield the splits that are left, the one that had been begun first.

        Raises:
            PositionGoneError: that one is no longer there.
        """
        done = {_key(split) for split in self._done}
        left = [split for split in splits if _key(split) not in done]
        if self._is_in_split and self.position is not None:
            places = [place for place, split in enumerate(left) if _key(split) == _key(self._current)]
            if not places:
                raise PositionGoneError(
                    f"{_shown(self._current)} was being read when the checkpoint was taken, and is no longer there",
                    "put it back, or start the job from the beginning",
                )
            left.insert(0, left.pop(places[0]))
        for split in left:
            if not self._is_in_split or _key(split) != _key(self._current):
                self.position = None
            self._current, self._is_in_split = split, True
            yield split

    def finish(self, split: Split) -> None:
        """Take note that a split has been read to its end."""
        self._done.append(split)
        self._current, self._is_in_split, self.position = None, False, None

    def snapshot(self) -> dict[str, JsonValue]:
        """Return what ``restore`` needs."""
        current = [self._current] if self._is_in_split else []
        return {"done": list(self._done), "split": current, "position": self.position}

    def restore(self, state: Mapping[str, JsonValue]) -> None:
        """Take up a snapshot."""
        done, current = state.get("done"), state.get("split")
        self._done = list(done) if isinstance(done, list) else []
        self._is_in_split = isinstance(current, list) and bool(current)
        self._current = current[0] if isinstance(current, list) and current else None
        self.position = state.get("position")


def _key(split: Split) -> bytes:
    return orjson.dumps(split, option=orjson.OPT_SORT_KEYS)


def _shown(split: Split) -> str:
    return orjson.dumps(split).decode()[:200]
