"""Lanes: queued requests that the same engines can serve."""

from __future__ import annotations

from typing import NamedTuple

from sage_control_plane.request.request import Route


class Lane(NamedTuple):
    """Requests with one route that avoid the same engines, because those have failed them.

    When no engine is free for a lane it is closed, and the lanes behind it go on.
    """

    route: Route
    avoided: frozenset[str] = frozenset()
