"""How large a body may be so that it fits the mesh's messages all the way."""

from __future__ import annotations

# What stages add to a request besides the prefix hashes: ids, hints, classification and its reasons.
_ADDED_BYTES = 64 * 1024
# Prefix hashes take 8 bytes for each block of text; this leaves room for blocks of 128 bytes, half the default.
_SHARE_FOR_HASHES = 16


def body_limit(configured_bytes: int, max_item_bytes: int) -> int:
    """Return the largest body to take: the configured one, or what the mesh can carry if that is less.

    Args:
        max_item_bytes: largest message of the ring.
    """
    room = max_item_bytes - _ADDED_BYTES
    return max(0, min(configured_bytes, room - room // _SHARE_FOR_HASHES))
