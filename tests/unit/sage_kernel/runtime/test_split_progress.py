from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_kernel.problems import PositionGoneError
from sage_kernel.runtime.split_progress import SplitProgress


@given(st.lists(st.text(max_size=3), unique=True, max_size=6), st.lists(st.integers(0, 3), max_size=6), st.randoms())
def test_every_split_is_read_once_whenever_it_is_interrupted_and_however_the_list_is_ordered(
    splits: list[str], interruptions: list[int], chance: object
) -> None:
    read: list[tuple[str, int]] = []
    state = SplitProgress().snapshot()
    for steps in [*interruptions, 100]:
        chance.shuffle(splits)  # type: ignore[attr-defined]
        progress = SplitProgress()
        progress.restore(state)
        for split in progress.begin(splits):
            first = progress.position if isinstance(progress.position, int) else 0
            for position in range(first, 2):
                if steps == 0:
                    break
                read.append((str(split), position))
                progress.position = position + 1
                steps -= 1
            else:
                progress.finish(split)
                continue
            break
        state = progress.snapshot()
    assert sorted(read) == sorted((split, position) for split in splits for position in range(2))


def test_files_that_come_and_go_beside_the_one_being_read_change_nothing() -> None:
    progress = SplitProgress()
    for split in progress.begin(["a", "b", "c"]):
        if split == "b":
            progress.position = 7
            break
        progress.finish(split)
    resumed = SplitProgress()
    resumed.restore(progress.snapshot())
    seen = []
    for split in resumed.begin(["0", "b", "c"]):
        seen.append((split, resumed.position))
        resumed.finish(split)
    assert seen == [("b", 7), ("0", None), ("c", None)]


def test_one_that_is_gone_is_an_error_with_a_remedy() -> None:
    progress = SplitProgress()
    next(iter(progress.begin(["a"])))
    progress.position = 3
    resumed = SplitProgress()
    resumed.restore(progress.snapshot())
    with pytest.raises(PositionGoneError, match=r'"a" was being read .* no longer there; put it back, or start'):
        next(resumed.begin(["b"]))


def test_one_that_had_given_nothing_yet_may_go() -> None:
    progress = SplitProgress()
    next(iter(progress.begin(["a"])))
    resumed = SplitProgress()
    resumed.restore(progress.snapshot())
    assert next(resumed.begin(["b"])) == "b"
