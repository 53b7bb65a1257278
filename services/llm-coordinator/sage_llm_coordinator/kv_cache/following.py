"""What makes an engine's cache be followed, where the libraries for it are installed."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Final

from sage_common.logging import get_logger
from sage_control_plane.request.engine_state import EngineSpec
from sage_llm_coordinator.kv_cache.account_sender import CacheReports
from sage_llm_coordinator.kv_cache.kv_events import FeedAddress

if TYPE_CHECKING:
    from sage_llm_coordinator.kv_cache.cache_watch import CacheWatch

log = get_logger(__name__)

_NEEDED: Final = ("zmq", "msgspec")


def can_follow() -> bool:
    """Return whether events can be read here."""
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED)


class CacheFollowing:
    """Makes what follows engines' caches. The libraries are loaded with the first engine that tells of its cache."""

    def __init__(self, reports: CacheReports) -> None:
        self._reports = reports

    def __call__(self, spec: EngineSpec, address: FeedAddress) -> CacheWatch | None:
        """Return what follows an engine's cache; None where it cannot be followed here."""
        if not can_follow():
            log.warning(
                "the engine tells what is in its prefix cache, and nobody listens; pip install pyzmq msgspec",
                engine=spec.engine_id,
                address=address.events,
            )
            return None
        from sage_llm_coordinator.kv_cache.cache_watch import CacheWatch

        return CacheWatch(spec.engine_id, spec.pool, address, self._reports)
