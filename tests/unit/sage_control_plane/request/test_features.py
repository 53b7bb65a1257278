"""The reference of request features: its values, its invariants, its errors."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_control_plane.request.features import MAX_BLOCK_BYTES, request_features

# Any code point, lone surrogates included, and short alphabets that make runs and block boundaries likely.
texts = st.one_of(st.text(st.characters(exclude_categories=())), st.text("ab Z19.,\n\té漢🥑", max_size=300))
segment_lists = st.lists(st.one_of(texts, st.binary(max_size=300)), max_size=8)
block_sizes = st.sampled_from([8, 16, 64, 256, 264, 1024])


def mod_by_words(segment_bytes: list[bytes], block_bytes: int) -> list[int]:
    """The definition once more, word by word as the C++ reads it, over segments without escapes."""
    modulus, mask = 0x9E3779B97F4A7C55, 2**64 - 1
    stream = b"".join(segment + b"\xff" for segment in segment_bytes)
    hashes, state = [], block_bytes
    for start in range(0, len(stream) // block_bytes * block_bytes, block_bytes):
        value, weight = state, 2**64
        for offset in range(start, start + block_bytes, 8):
            value = (value + int.from_bytes(stream[offset : offset + 8], "little") * weight) % modulus
            weight = weight * 2**64 % modulus
        state = (value + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
        hashes.append(state)
    return hashes


def test_the_values_are_fixed_for_ever() -> None:
    # Hashes travel between machines and versions; a change here breaks prefix affinity during a rolling upgrade.
    segments = ["system", "You are terse.", "user", "Wo liegt 漢字? 🥑\n\n12345 a_b"]
    assert request_features(segments, 16) == (
        25,
        [
            0xB8CCDF7D5E5714CB,
            0xD0962EAE4E93103A,
            0x63F4D6FA4C19225B,
        ],
    )


@given(st.lists(st.text("abc 12\n", max_size=200), max_size=5), block_sizes)
def test_hashes_are_what_the_definition_says_word_by_word(segments: list[str], block_bytes: int) -> None:
    assert request_features(segments, block_bytes)[1] == mod_by_words([s.encode() for s in segments], block_bytes)


@given(segment_lists, block_sizes)
def test_only_full_blocks_are_hashed(segments: list[bytes | str], block_bytes: int) -> None:
    encoded = [s if isinstance(s, bytes) else s.encode("utf-8", "surrogatepass") for s in segments]
    size = sum(len(s) + s.count(b"\xfe") + s.count(b"\xff") + 1 for s in encoded)
    hashes = request_features(segments, block_bytes)[1]
    assert len(hashes) == size // block_bytes
    assert all(0 <= value < 2**64 for value in hashes)


@given(segment_lists, segment_lists, block_sizes)
def test_appending_a_turn_keeps_the_earlier_block_hashes(
    conversation: list[bytes | str], turn: list[bytes | str], block_bytes: int
) -> None:
    tokens, before = request_features(conversation, block_bytes)
    more_tokens, after = request_features([*conversation, *turn], block_bytes)
    assert after[: len(before)] == before
    assert more_tokens >= tokens


@given(st.text(), st.text(), block_sizes)
def test_text_added_to_the_last_segment_changes_no_block_that_is_full_without_it(
    text: str, more: str, block_bytes: int
) -> None:
    # The terminator is the one byte of the shorter stream that the longer one does not share.
    full = len(text.encode()) // block_bytes
    short, long = (request_features([value], block_bytes)[1] for value in (text, text + more))
    assert long[:full] == short[:full]


@given(segment_lists, segment_lists)
def test_conversations_share_all_hashes_only_if_they_are_equal(
    first: list[bytes | str], second: list[bytes | str]
) -> None:
    def as_bytes(segments: list[bytes | str]) -> list[bytes]:
        return [s if isinstance(s, bytes) else s.encode("utf-8", "surrogatepass") for s in segments]

    padding = ["x" * 64]
    hashes = [request_features([*segments, *padding], 8)[1] for segments in (first, second)]
    assert (as_bytes(first) == as_bytes(second)) == (hashes[0] == hashes[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["abc"], ["abc", ""]),
        (["", "abc"], ["abc", ""]),
        ([b"\xff", b"a"], [b"", b"\xfe\x01a"]),
        ([b"\xfe\x01"], [b"\xff"]),
        ([b"a\xffb"], [b"a", b"b"]),
    ],
)
def test_the_cut_between_segments_matters(one: list[bytes | str], other: list[bytes | str]) -> None:
    tail = ["0123456789abcdef"]
    assert request_features([*one, *tail], 8)[1][0] != request_features([*other, *tail], 8)[1][0]


@given(st.text(), block_sizes)
def test_text_and_its_utf8_bytes_are_the_same_segment(text: str, block_bytes: int) -> None:
    assert request_features([text], block_bytes) == request_features([text.encode()], block_bytes)


def test_a_block_hash_depends_on_every_block_before_it() -> None:
    base = bytearray(b"abcdefgh" * 8)
    hashes = request_features([bytes(base)], 8)[1]
    base[3] ^= 1
    changed = request_features([bytes(base)], 8)[1]
    assert all(a != b for a, b in zip(hashes, changed, strict=True))


def test_hashes_of_similar_blocks_spread_over_all_bits() -> None:
    hashes = [request_features([number.to_bytes(8, "little")], 8)[1][0] for number in range(2000)]
    assert len(set(hashes)) == 2000
    for bit in range(64):
        assert 800 < sum(value >> bit & 1 for value in hashes) < 1200, f"bit {bit} is biased"


def test_the_block_size_is_part_of_the_hash() -> None:
    zeros = [b"\0" * 64]
    firsts = [request_features(zeros, size)[1][0] for size in (8, 16, 32, 64)]
    assert all(a != b for a, b in pairwise(firsts))


@pytest.mark.parametrize(
    ("text", "thirty_seconds"),
    [
        ("", 0),
        ("word", 28),
        ("tokenize", 28 + 3 * 7),
        ("two words", 56),
        ("2026", 15 + 4 * 12),
        ("a1", 28 + 15 + 12),
        ("...", 28 + 3 * 2),
        ("\n\n\t", 27),
        ("    ", 0),
        ("é", 11),
        ("ไ", 11),
        ("漢字", 44),
        ("🥑", 64),
    ],
)
def test_the_estimate_adds_up_the_stated_costs(text: str, thirty_seconds: int) -> None:
    repeats = 32
    tokens, _ = request_features([text] * repeats, 256)
    # Each segment costs two tokens more, and 32 equal segments make thirty-seconds whole.
    assert tokens == thirty_seconds + 2 * repeats


def test_nothing_is_no_tokens_and_no_blocks() -> None:
    assert request_features([], 256) == (0, [])


@pytest.mark.parametrize("block_bytes", [0, -8, 4, 12, 257, MAX_BLOCK_BYTES + 8])
def test_a_block_size_out_of_range_is_refused_with_its_value(block_bytes: int) -> None:
    with pytest.raises(ValueError, match=f"from 8 to 65536, not {block_bytes}"):
        request_features(["text"], block_bytes)


def test_a_segment_of_another_type_is_refused_by_index() -> None:
    with pytest.raises(TypeError, match=r"segments\[1\] must be str or bytes, not int"):
        request_features(["a", 7], 256)  # type: ignore[list-item]


@pytest.mark.parametrize("segments", ["text", b"text"])
def test_one_string_instead_of_a_list_is_refused(segments: str | bytes) -> None:
    with pytest.raises(TypeError, match="must be a sequence of str or bytes, not one"):
        request_features(segments, 256)  # type: ignore[arg-type]
