"""The view of an engine that placement has: state and load, current to the last decision."""

from __future__ import annotations

from sage_control_plane.pool.engine_entry import EngineEntry

# Placement only reads it. It is the class itself: compiled code looks the attributes of a protocol up by name at each
# access, and there are dozens in every decision.
EngineView = EngineEntry
