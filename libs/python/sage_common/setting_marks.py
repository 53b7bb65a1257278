"""Marks on the fields of settings dataclasses, for ``typing.Annotated``. They need no Pydantic: pure code carries them.

``margin: Annotated[float, Ge(0), Alias("reserve")] = 0.05`` is a setting with its range (``annotated_types``) and the
name that it had before. Its description is its line below ``Attributes:`` in the dataclass's docstring, or
``"description"`` in the field's metadata.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Alias:
    """A further name of a setting, usually one that it had before.

    Attributes:
        name: the name below the section; None: the field's own, without its group, as before the settings had groups.
    """

    name: str | None = None


@dataclass(frozen=True, slots=True)
class Inlined:
    """The fields of this group are settings of the group that holds it; the group's own name is not part of theirs."""
