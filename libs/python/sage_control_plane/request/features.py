"""Request features: the number of tokens of a conversation, and hashes of the prefixes that it shares with others.

This is the reference. The C++ distribution ``sage-native`` returns the same values and is tested against this file,
which takes its place where there is no compiler. Python's big integers serve as SIMD: one class byte for each byte of
text, so that a shift by eight bits lines every byte up with its neighbour.

**Canonical stream.** Every segment's bytes (a ``str`` as UTF-8, a lone surrogate as its three-byte form) with ``0xFE``
written as ``FE 00`` and ``0xFF`` as ``FE 01``, then the terminator ``0xFF``. Different lists of segments give different
streams, and text added to the last segment leaves all that stood before it unchanged.

**Prefix-block hashes.** The stream is cut in blocks of ``block_bytes``; only full ones count. With
``h[-1] = block_bytes``::

    h[i] = avalanche((h[i-1] + 2**64 * block_i) mod p),   p = 0x9E3779B97F4A7C55

where ``block_i`` is the block read as one little-endian integer (so its 8-byte little-endian words are the
coefficients of a polynomial in ``2**64 mod p``: Karp and Rabin, "Efficient randomized pattern-matching algorithms",
1987), ``p`` is the first prime above ``2**64`` divided by the golden ratio, and ``avalanche`` is the output function of
SplitMix64 (Steele, Lea and Flood, 2014). Equal hashes mean equal prefixes up to an accident of about ``2**-63`` a pair;
they are not collision-resistant against an attacker, so they may choose an engine but not grant access.

**Token estimate**, in thirty-seconds of a token, summed over the stream and rounded to the nearest token:

=====================================  ====================================================
what                                   cost / 32
=====================================  ====================================================
run of ASCII letters                   28, and 7 for every letter after the fifth
run of digits                          15, and 12 for every digit
run of punctuation or control bytes    28, and 2 for every byte
run of tab, LF, VT, FF, CR             27
space                                  0: tokenizers join it to the word that follows
lead byte of a UTF-8 character         2-byte 11; 3-byte 11, or 22 for E3-ED (CJK, Hangul); 4-byte 64
segment                                64: what chat templates and [CLS], [SEP] add
=====================================  ====================================================

Fitted by least squares of the relative error to the byte-pair encoding ``o200k_base``, over 3,170 texts of 300 to 4,000
characters. Mean absolute error over the same texts: 4% for English, Markdown, JSON, Python and C++, 9% for 17 other
languages (worst: Vietnamese, 27% high). Against ``cl100k_base`` 4% and 25%; against MiniLM's WordPiece 11% and 37%,
where dense punctuation and scripts that its vocabulary lacks are estimated too low. Such texts need the engine's own
count, which replaces the estimate when it arrives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

DEFAULT_BLOCK_BYTES = 256
"""About 64 tokens of English."""
MAX_BLOCK_BYTES = 65_536

_MODULUS = 0x9E3779B97F4A7C55
_MASK_64 = 0xFFFF_FFFF_FFFF_FFFF

_LETTER, _DIGIT, _PUNCTUATION, _BREAK, _LEAD_2, _LEAD_3, _LEAD_CJK, _LEAD_4 = (1 << bit for bit in range(8))


class FeatureExtractor(Protocol):
    """The interface of :func:`request_features` and of its C++ counterpart."""

    def __call__(self, segments: Sequence[bytes | str], block_bytes: int, /) -> tuple[int, list[int]]:
        """Return (token estimate, chained 64-bit hashes of the full prefix blocks)."""


def request_features(
    segments: Sequence[bytes | str], block_bytes: int = DEFAULT_BLOCK_BYTES, /
) -> tuple[int, list[int]]:
    """Return (token estimate, chained unsigned 64-bit hashes of the full prefix blocks) of a conversation.

    ``segments`` are the roles and contents of the whole conversation, in order; ``block_bytes`` is a multiple of 8 from
    8 to 65,536. One pass, O(bytes). ``b"text"`` and ``"text"`` are the same segment.

    Raises ``TypeError`` for a segment that is neither ``str`` nor ``bytes`` (or one string instead of a list of them)
    and ``ValueError`` for a block size out of range.
    """
    if block_bytes % 8 or not 8 <= block_bytes <= MAX_BLOCK_BYTES:
        raise ValueError(f"block_bytes must be a multiple of 8 from 8 to {MAX_BLOCK_BYTES}, not {block_bytes}")
    stream = _canonical_stream(segments)
    return _estimate_tokens(stream, len(segments)), _prefix_hashes(stream, block_bytes)


def _canonical_stream(segments: Sequence[bytes | str]) -> bytes:
    if isinstance(segments, (str, bytes)):
        raise TypeError(f"segments must be a sequence of str or bytes, not one {type(segments).__name__}")
    parts: list[bytes] = []
    for index, segment in enumerate(segments):
        if isinstance(segment, str):
            parts.append(segment.encode("utf-8", "surrogatepass"))
        elif isinstance(segment, bytes):
            parts.append(segment.replace(b"\xfe", b"\xfe\x00").replace(b"\xff", b"\xfe\x01"))
        else:
            raise TypeError(f"segments[{index}] must be str or bytes, not {type(segment).__name__}")
    parts.append(b"")
    return b"\xff".join(parts)


def _prefix_hashes(stream: bytes, block_bytes: int) -> list[int]:
    hashes: list[int] = []
    state = block_bytes
    for start in range(0, len(stream) - block_bytes + 1, block_bytes):
        block = int.from_bytes(stream[start : start + block_bytes], "little")
        state = _avalanche((block << 64 | state) % _MODULUS)
        hashes.append(state)
    return hashes


def _avalanche(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK_64
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK_64
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK_64
    return value ^ value >> 31


def _class_of(byte: int) -> int:
    if byte < 0x80:
        character = chr(byte)
        if character.isalpha():
            return _LETTER
        if character.isdigit():
            return _DIGIT
        if character == " ":
            return 0
        return _BREAK if 9 <= byte <= 13 else _PUNCTUATION
    if 0xC0 <= byte <= 0xDF:
        return _LEAD_2
    if 0xE0 <= byte <= 0xEF:
        return _LEAD_CJK if 0xE3 <= byte <= 0xED else _LEAD_3
    return _LEAD_4 if 0xF0 <= byte <= 0xF7 else 0


_CLASSES = bytes(_class_of(byte) for byte in range(256))


def _estimate_tokens(stream: bytes, segment_count: int) -> int:
    classes = stream.translate(_CLASSES)
    size = len(classes)
    bits = int.from_bytes(classes, "little")
    # A byte of `pairs` keeps its class bit where the byte before is of the same class, a byte of `sixes` where the five
    # before are: a run of n has n - 1 pairs and n - 5 sixes.
    pairs = bits & bits << 8
    sixes = pairs & pairs << 16 & pairs << 32
    pair_bytes = pairs.to_bytes(size, "little")
    count, count_pairs = classes.count, pair_bytes.count
    letters, digits, punctuation = count(_LETTER), count(_DIGIT), count(_PUNCTUATION)
    cost = (
        28 * (letters - count_pairs(_LETTER))
        + 7 * sixes.to_bytes(size, "little").count(_LETTER)
        + 15 * (digits - count_pairs(_DIGIT))
        + 12 * digits
        + 28 * (punctuation - count_pairs(_PUNCTUATION))
        + 2 * punctuation
        + 27 * (count(_BREAK) - count_pairs(_BREAK))
        + 11 * (count(_LEAD_2) + count(_LEAD_3) + 2 * count(_LEAD_CJK))
        + 64 * count(_LEAD_4)
        + 64 * segment_count
    )
    return (cost + 16) >> 5
