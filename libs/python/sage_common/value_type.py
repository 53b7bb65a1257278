"""Types of values that are made for every request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform

    @dataclass_transform(frozen_default=True, field_specifiers=(field,))
    def value_type(cls: type[T]) -> type[T]:
        """Make a class a hashable dataclass with slots, to whose fields nothing is assigned after it is made.

        Type checkers hold that against an assignment. ``dataclass(frozen=True)`` would do so at run time too, by a call
        for each field, which makes a value of ten fields take four times as long to make.
        """
        ...
else:
    value_type = dataclass(slots=True, unsafe_hash=True)
