"""Which prompt blocks an engine has computed and kept: a least-recently-used set of chained block hashes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence


class PrefixCache:
    """Blocks are hashes that cover everything before them, so a match of one implies a match of all before it."""

    __slots__ = ("_blocks",)

    def __init__(self) -> None:
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def match(self, blocks: Sequence[int]) -> int:
        """Return how many leading blocks are here, and count them as used just now."""
        held = self._blocks
        matched = 0
        for block in blocks:
            if block not in held:
                break
            matched += 1
        # The last block first, so that of a prompt the end is evicted before the beginning that others may share.
        for block in reversed(blocks[:matched]):
            held.move_to_end(block)
        return matched

    def add(self, blocks: Sequence[int]) -> None:
        """The blocks have been computed."""
        held = self._blocks
        for block in reversed(blocks):
            held[block] = None
            held.move_to_end(block)

    def trim(self, limit: int) -> None:
        """Forget the least recently used until at most ``limit`` blocks are left."""
        held = self._blocks
        while len(held) > max(0, limit):
            held.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._blocks.clear()
