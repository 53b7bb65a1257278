"""The little of protobuf's wire format that is written by hand, where message objects cost more than all else."""

from __future__ import annotations


def varint(value: int) -> bytes:
    """Return a number ≥ 0 as protobuf writes it: seven bits a byte, the lowest first."""
    if value <= 0x7F:
        return b"%c" % value
    if value <= 0x3FFF:
        # Most lengths are such.
        return b"%c%c" % (value & 0x7F | 0x80, value >> 7)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def frame_items(items: list[bytes]) -> bytes:
    """Encode ``repeated Item items = 1`` from serialised items (tag 0x0a, then the length)."""
    parts: list[bytes] = []
    for item in items:
        parts += (b"\x0a" + varint(len(item)), item)
    return b"".join(parts)
