"""A cache of vectors by token ids, bounded by bytes."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

# Python's own cost of an entry: the dictionary's slot, the key's and the array's headers.
ENTRY_BYTES = 300


class VectorLru:
    """Vectors by the bytes of their token ids, the least recently used evicted. For one model; not thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._vectors: OrderedDict[bytes, Vector] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def bytes_used(self) -> int:
        """Bytes held, at most ``max_bytes``."""
        return self._bytes

    def get(self, key: bytes) -> Vector | None:
        """Return the vector of ``key``, shape (d,), or None."""
        vector = self._vectors.get(key)
        if vector is not None:
            self._vectors.move_to_end(key)
        return vector

    def put(self, key: bytes, vector: Vector) -> None:
        """Store a copy of a vector, and evict the least recently used ones that no longer fit."""
        cost = _cost(key, vector)
        if cost > self._max_bytes or key in self._vectors:
            return
        # A row is a view that would keep the whole batch alive.
        self._vectors[key] = vector.copy()
        self._bytes += cost
        while self._bytes > self._max_bytes:
            old_key, old = self._vectors.popitem(last=False)
            self._bytes -= _cost(old_key, old)


def _cost(key: bytes, vector: Vector) -> int:
    return len(key) + vector.nbytes + ENTRY_BYTES
