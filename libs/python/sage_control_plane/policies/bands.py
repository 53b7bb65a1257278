"""Bands: groups of requests that are served in order of importance."""

from __future__ import annotations

from enum import IntEnum

from sage_control_plane.requests import PendingRequest, Priority, ServiceClass


class Band(IntEnum):
    """The bands, the most important first."""

    URGENT = 0
    INTERACTIVE = 1
    DEFAULT = 2
    BEST_EFFORT = 3
    BULK = 4


_OF_CLASS = {
    ServiceClass.INTERACTIVE: Band.INTERACTIVE,
    ServiceClass.EMBEDDING: Band.INTERACTIVE,
    ServiceClass.DEFAULT: Band.DEFAULT,
    ServiceClass.BULK: Band.BULK,
}
_SHIFT = {
    Priority.CRITICAL: -2,
    Priority.HIGH: -1,
    Priority.NORMAL: 0,
    Priority.LOW: 1,
    Priority.BACKGROUND: 4,
}


def band_of(request: PendingRequest) -> Band:
    """Return the band of a request's class, moved by its priority.

    Chats and embeddings share one, since both have somebody waiting and one currency charges for both. BEST_EFFORT is
    for requests whose target cannot be met any more; nobody is moved there by priority.
    """
    classification = request.classification
    shifted = _OF_CLASS[classification.service_class] + _SHIFT[classification.priority]
    band = Band(min(Band.BULK, max(Band.URGENT, shifted)))
    return Band.BULK if band is Band.BEST_EFFORT else band
