"""Settings of the bounds of the queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt

from sage_common.setting_marks import Alias
from sage_control_plane.request.request import ServiceClass


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """Bounds of the queue.

    Attributes:
        max_queued: requests queued of one class in one pool, at most.
        max_queued_bytes: bytes queued of one class in one pool, at most.
        class_max_queued: ``max_queued`` by class: interactive, default, embedding, bulk.
        unknown_retry_seconds: Retry-After while no drain rate has been measured.
        most_retry_seconds: longest Retry-After.
    """

    max_queued: Annotated[int, Ge(1), Alias()] = 20_000
    max_queued_bytes: Annotated[int, Ge(1), Alias()] = 256 * 1024 * 1024
    class_max_queued: Annotated[Mapping[str, int], Alias()] = field(default_factory=dict)
    unknown_retry_seconds: Annotated[float, Gt(0)] = 5.0
    most_retry_seconds: Annotated[float, Gt(0)] = 60.0

    def __post_init__(self) -> None:
        """Raise ValueError for a class that does not exist."""
        known = [service_class.name.lower() for service_class in ServiceClass]
        for name in self.class_max_queued:
            if name.lower() not in known:
                raise ValueError(f"class_max_queued: no class is called {name!r}; known: {', '.join(known)}")

    def most_requests(self) -> dict[ServiceClass, int]:
        """Return how many requests may be queued, by class."""
        named = {ServiceClass[name.upper()]: most for name, most in self.class_max_queued.items()}
        return {service_class: named.get(service_class, self.max_queued) for service_class in ServiceClass}
