"""Numbers on the wire become members, or an error that names the number."""

from __future__ import annotations

from enum import IntEnum

import pytest

from sage_control_plane.request.request import Endpoint, Priority, RequestKind, ServiceClass
from sage_mesh.reply import Media
from sage_mesh.wire.members import Members


@pytest.mark.parametrize("kind", [Endpoint, Priority, RequestKind, ServiceClass, Media])
def test_every_number_gives_its_member(kind: type[IntEnum]) -> None:
    members = Members(kind)
    assert all(members[member.value] is member for member in kind)


def test_a_number_without_a_member_is_the_enumerations_own_error() -> None:
    members = Members(Priority)
    with pytest.raises(ValueError, match="77 is not a valid Priority"):
        members[77]
    assert 77 not in members
