from __future__ import annotations

import pytest

from sage_benchmark.live.capacities import TOLD, UNTOLD, capacity_suffixes, read_capacities
from sage_common.errors import InvalidRequestError


def test_one_or_both_are_read_in_order() -> None:
    assert read_capacities(["untold", "told"]) == [UNTOLD, TOLD]
    assert read_capacities(["told"]) == [TOLD]


@pytest.mark.parametrize("names", [[], ["tell"], ["told", "not"]])
def test_other_words_are_refused(names: list[str]) -> None:
    with pytest.raises(InvalidRequestError, match="told, untold, or both"):
        read_capacities(names)


def test_systems_are_told_apart_only_where_there_are_two_of_each() -> None:
    assert capacity_suffixes([UNTOLD]) == {UNTOLD: ""}
    assert capacity_suffixes([TOLD, UNTOLD]) == {TOLD: ", told", UNTOLD: ", untold"}
