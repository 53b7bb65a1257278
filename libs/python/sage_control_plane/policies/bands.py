"""Bands: groups of requests that are served in order of importance."""

from __future__ import annotations

from enum import IntEnum

from sage_control_plane.request.request import PendingRequest, Priority, ServiceClass


class Band(IntEnum):
    """The bands, the most important first."""

    URGENT = 0
    TIGHT = 1
    INTERACTIVE = 2
    DEFAULT = 3
    BULK = 4


# Each band has two levels: its requests that can meet their target, and those that are late.
LEVELS = 2 * len(Band)


def level_of(band: Band, *, late: bool) -> int:
    """Return the place of a band's requests, or of those that are late, in the order in which they are served."""
    return 2 * band + late


_OF_CLASS = {
    ServiceClass.INTERACTIVE: Band.INTERACTIVE,
    ServiceClass.EMBEDDING: Band.TIGHT,
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

    Embeddings go before chats: their targets are tight and they cost little, and an engine whose time for prompts goes
    to chats could never begin one in time.
    """
    classification = request.classification
    return _BANDS[classification.service_class][classification.priority]


def _band(service_class: ServiceClass, priority: Priority) -> Band:
    return Band(min(Band.BULK, max(Band.URGENT, _OF_CLASS[service_class] + _SHIFT[priority])))


_BANDS = {
    service_class: {priority: _band(service_class, priority) for priority in Priority} for service_class in ServiceClass
}
