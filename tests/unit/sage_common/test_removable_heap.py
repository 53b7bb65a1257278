"""The heap gives what a sorted list would, whatever is pushed and removed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage_common.removable_heap import SLACK, RemovableHeap


@given(st.lists(st.tuples(st.sampled_from("pra"), st.integers(0, 20), st.integers(-5, 5))))
def test_it_agrees_with_a_sorted_list(steps: list[tuple[str, int, int]]) -> None:
    heap: RemovableHeap[int] = RemovableHeap()
    model: dict[int, tuple[int, int]] = {}
    for sequence, (verb, item, value) in enumerate(steps):
        if verb == "r":
            assert heap.remove(item) == (model.pop(item, None) is not None)
        else:
            heap.push(item, (value, sequence))
            model[item] = (value, sequence)
        expected = min(((key, item) for item, key in model.items()), default=None)
        assert heap.peek() == expected
        assert len(heap) == len(model)


def test_removed_items_do_not_pile_up() -> None:
    heap: RemovableHeap[int] = RemovableHeap()
    heap.push(-1, (-1.0,))
    for number in range(10_000):
        heap.push(number, (float(number),))
        heap.remove(number)
    assert len(heap._heap) <= 2 * len(heap) + SLACK + 1
    assert heap.peek() == ((-1.0,), -1)
