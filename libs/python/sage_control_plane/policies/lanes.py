"""Lanes: queued requests that the same engines can serve."""

from __future__ import annotations

from typing import NamedTuple

from sage_control_plane.request.request import Route


class Lane(NamedTuple):
    """The requests of one route that avoid the same engines, because those have failed them.

    A lane without a free engine is closed, so that it does not block the others.
    """

    route: Route
    avoided: frozenset[str] = frozenset()
