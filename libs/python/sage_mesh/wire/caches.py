"""What engines have in their prefix caches ↔ protobuf."""

from __future__ import annotations

from sage.inference.v1 import cache_pb2
from sage_control_plane.request.cached_blocks import CachedBlocks


def cached_blocks_to_wire(value: CachedBlocks) -> cache_pb2.CachedBlocks:
    """Translate a message of an account."""
    return cache_pb2.CachedBlocks(
        engine_id=value.engine_id,
        account=value.account,
        sequence=value.sequence,
        whole=value.whole,
        stored=value.stored,
        removed=value.removed,
    )


def cached_blocks_from_wire(message: cache_pb2.CachedBlocks) -> CachedBlocks:
    """Translate a message of an account."""
    return CachedBlocks(
        engine_id=message.engine_id,
        account=message.account,
        sequence=message.sequence,
        whole=message.whole,
        stored=tuple(message.stored),
        removed=tuple(message.removed),
    )
