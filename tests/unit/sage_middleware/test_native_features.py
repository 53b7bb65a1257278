"""sage-native against its oracle, the reference in Python, in every variant that this processor runs."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_control_plane.request.features import MAX_BLOCK_BYTES, request_features

sage_native = pytest.importorskip("sage_native", reason="sage-native is not installed: pip install ./libs/cpp")

# Any code point, lone surrogates included, and short alphabets that make runs and block boundaries likely.
texts = st.one_of(st.text(st.characters(exclude_categories=())), st.text("ab Z19.,\n\té漢🥑", max_size=300))
segment_lists = st.lists(st.one_of(texts, st.binary(max_size=300)), max_size=8)
block_sizes = st.integers(1, 140).map(lambda words: 8 * words) | st.just(MAX_BLOCK_BYTES)

variants = pytest.mark.parametrize("variant", sage_native.variants())


@variants
@given(segments=segment_lists, block_bytes=block_sizes)
def test_native_values_are_the_reference_values(variant: str, segments: list[bytes | str], block_bytes: int) -> None:
    expected = request_features(segments, block_bytes)
    assert sage_native.request_features_with(variant, segments, block_bytes) == expected
    assert sage_native.request_features(tuple(segments), block_bytes) == expected


@variants
def test_every_byte_after_every_byte_costs_the_same(variant: str) -> None:
    pairs = bytes(value for first in range(256) for second in range(256) for value in (first, second))
    assert sage_native.request_features_with(variant, [pairs], 256) == request_features([pairs], 256)


@variants
@pytest.mark.parametrize("length", [*range(20), 62, 63, 64, 65, 127, 128, 129, 255, 256, 257])
def test_runs_that_cross_or_end_at_a_lane_boundary_count_the_same(variant: str, length: int) -> None:
    for offset in range(64):
        segments = [" " * offset + "w" * length, "7" * length + "!" * offset]
        assert sage_native.request_features_with(variant, segments, 64) == request_features(segments, 64)


@variants
def test_a_megabyte_of_the_dearest_bytes_overflows_no_counter(variant: str) -> None:
    emoji = "🥑" * 300_000
    dearest_bytes = b"\xf0" * 1_000_003
    for segments in ([emoji], [dearest_bytes]):
        assert sage_native.request_features_with(variant, segments, 4096) == request_features(segments, 4096)


def test_the_largest_block_of_the_largest_words_is_reduced_right() -> None:
    data = b"\xfd" * (2 * MAX_BLOCK_BYTES)
    assert sage_native.request_features([data], MAX_BLOCK_BYTES) == request_features([data], MAX_BLOCK_BYTES)


def test_random_bytes_of_many_lengths_agree() -> None:
    rng = random.Random(7)
    for length in range(0, 3000, 37):
        segments = [rng.randbytes(length), rng.randbytes(length // 3)]
        assert sage_native.request_features(segments, 256) == request_features(segments, 256)


@pytest.mark.parametrize("block_bytes", [0, -8, 4, 12, 257, MAX_BLOCK_BYTES + 8])
def test_native_refuses_a_block_size_in_the_words_of_the_reference(block_bytes: int) -> None:
    with pytest.raises(ValueError, match="block_bytes") as reference:
        request_features(["text"], block_bytes)
    with pytest.raises(ValueError, match="block_bytes") as native:
        sage_native.request_features(["text"], block_bytes)
    assert str(native.value) == str(reference.value)


@pytest.mark.parametrize("segments", ["text", b"text", ["a", 7], ["a", None], [bytearray(b"a")]])
def test_native_refuses_segments_in_the_words_of_the_reference(segments: object) -> None:
    with pytest.raises(TypeError, match="segments") as reference:
        request_features(segments, 256)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="segments") as native:
        sage_native.request_features(segments, 256)
    assert str(native.value) == str(reference.value)


def test_an_unknown_variant_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no variant 'mmx' on this processor; it has: baseline"):
        sage_native.request_features_with("mmx", [], 8)
