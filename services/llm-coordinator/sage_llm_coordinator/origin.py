"""Who wants an engine: an operator, who registered or started it, or the settings of a coordinator."""

from __future__ import annotations

from collections.abc import Iterable

from sage_control_plane.request.engine_state import REGISTERED_LABEL

# Labels of an engine. The value is the name that an operator gave it, or <replica>/<index> in a coordinator's settings.
REGISTERED = REGISTERED_LABEL
CONFIGURED = "configured"
Labels = Iterable[tuple[str, str]]


def origin_of(labels: Labels) -> str:
    """Return the origin as one text; empty for an engine that has none."""
    return next((f"{label}/{value}" for label, value in labels if label in (REGISTERED, CONFIGURED)), "")


def labels_of(origin: str) -> tuple[tuple[str, str], ...]:
    """Return the labels of an engine of this origin."""
    label, _, value = origin.partition("/")
    return ((label, value),) if value else ()


def registered_name(labels: Labels) -> str:
    """Return the name under which an operator registered the engine; empty if none did."""
    return dict(labels).get(REGISTERED, "")
