from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sage_embed_executor.batching.vector_lru import ENTRY_BYTES, VectorLru

COST = 1 + 8 * 4 + ENTRY_BYTES


def vector(number: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.full(8, number, dtype=np.float32)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9))), st.integers(0, 6))
def test_it_holds_what_was_used_last_and_no_more_bytes_than_allowed(
    steps: list[tuple[bool, int]], capacity: int
) -> None:
    cache = VectorLru(capacity * COST)
    model: list[int] = []
    for put, number in steps:
        key = bytes([number])
        if put:
            cache.put(key, vector(number))
            model = model if number in model else [*model, number][-capacity:] if capacity else []
        else:
            found = cache.get(key)
            assert (found is not None) == (number in model)
            assert found is None or (found == number).all()
            model = [*(n for n in model if n != number), *(n for n in model if n == number)]
        assert len(cache) == len(model)
        assert cache.bytes_used == len(model) * COST


def test_a_kept_row_does_not_keep_its_batch() -> None:
    cache = VectorLru(10_000)
    batch = np.ones((100, 8), dtype=np.float32)
    cache.put(b"k", batch[3])
    kept = cache.get(b"k")
    assert kept is not None
    assert kept.base is None
