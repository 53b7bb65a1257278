"""Values are compared, hashed and copied by their fields."""

from __future__ import annotations

from dataclasses import field, replace

from sage_common.value_type import value_type


@value_type
class Size:
    width: int
    height: int = 1
    note: str = field(default="", compare=False)


def test_values_with_equal_fields_are_equal_and_have_one_hash() -> None:
    assert Size(2, 3, "one") == Size(2, 3, "other")
    assert len({Size(2, 3, "one"), Size(2, 3, "other"), Size(3, 2)}) == 2


def test_a_changed_copy_leaves_the_value_as_it_is() -> None:
    size = Size(2)
    assert replace(size, height=5) == Size(2, 5)
    assert size == Size(2)


def test_a_value_has_room_for_its_fields_alone() -> None:
    assert not hasattr(Size(2), "__dict__")
