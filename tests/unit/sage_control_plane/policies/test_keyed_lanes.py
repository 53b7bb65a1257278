"""The best of the open lanes, as a sorted list would give it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage_control_plane.policies.keyed_lanes import KeyedLanes
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.request.request import RequestKind, Route

LANES = [Lane(Route(name, RequestKind.LLM_CHAT)) for name in "abc"]
STEP = st.tuples(st.sampled_from(["push", "remove", "open", "close"]), st.integers(0, 15), st.sampled_from(range(3)))


@given(st.lists(STEP, max_size=80), st.randoms(use_true_random=False))
def test_it_agrees_with_a_sorted_list(steps: list[tuple[str, int, int]], random: object) -> None:
    lanes = KeyedLanes()
    queued: dict[str, tuple[tuple[int, int], int]] = {}
    closed: set[int] = set()
    for sequence, (verb, number, lane) in enumerate(steps):
        name = str(number)
        if verb == "push" and name not in queued:
            key = (random.randrange(5), sequence)  # type: ignore[attr-defined]
            lanes.push(name, LANES[lane], key)
            queued[name] = (key, lane)
        elif verb == "remove":
            assert lanes.remove(name) == (queued.pop(name, None) is not None)
        elif verb == "open":
            lanes.open(LANES[lane])
            closed.discard(lane)
        elif verb == "close" and any(where == lane for _, where in queued.values()):
            lanes.close(LANES[lane])
            closed.add(lane)
        # A lane that has run empty is forgotten, and open when it is used again.
        closed &= {where for _, where in queued.values()}
        open_ones = [(key, name) for name, (key, where) in queued.items() if where not in closed]
        assert lanes.first() == (min(open_ones)[1] if open_ones else None)
        assert len(lanes) == len(queued)
