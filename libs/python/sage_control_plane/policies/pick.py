"""What a policy answers."""

from __future__ import annotations

from sage_common.value_type import value_type
from sage_control_plane.request.request import PendingRequest


@value_type
class Pick:
    """A policy's answer.

    Attributes:
        band: name of the request's group, for explanations; None where the policy has no groups.
        shed: why the request is to be refused with 429; None serves it.
    """

    request: PendingRequest
    band: str | None = None
    shed: str | None = None
