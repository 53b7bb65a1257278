"""Compressed bodies are decoded a step at a time, and not taken for whole where they are not."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_mesh.upstream.http.content_coding import STEP_BYTES, ContentDecoder
from sage_mesh.upstream.http.http_error import HttpError


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


CODINGS = {b"gzip": gzip.compress, b"x-gzip": gzip.compress, b"deflate": zlib.compress}


def decoded(decoder: ContentDecoder, pieces: list[bytes]) -> bytes:
    text = b""
    for piece in pieces:
        text += decoder.step(piece)
        while decoder.has_more:
            text += decoder.step()
    decoder.check_end()
    return text


@given(
    data=st.binary(max_size=2000), coding=st.sampled_from(sorted(CODINGS)), size=st.integers(min_value=1, max_value=50)
)
def test_a_body_is_decoded_however_it_is_cut(data: bytes, coding: bytes, size: int) -> None:
    coded = CODINGS[coding](data)
    pieces = [coded[start : start + size] for start in range(0, len(coded), size)]
    assert decoded(ContentDecoder(coding), pieces) == data


def test_deflate_may_lack_its_header() -> None:
    assert decoded(ContentDecoder(b"deflate"), [raw_deflate(b"words " * 100)]) == b"words " * 100


def test_gzip_may_have_several_members() -> None:
    assert decoded(ContentDecoder(b"gzip"), [gzip.compress(b"one ") + gzip.compress(b"two")]) == b"one two"


def test_a_few_bytes_that_stand_for_many_are_decoded_in_steps() -> None:
    decoder = ContentDecoder(b"gzip")
    step = decoder.step(gzip.compress(bytes(10 * STEP_BYTES)))
    assert len(step) == STEP_BYTES
    assert decoder.has_more


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, gzip", b"chunked"])
def test_a_coding_that_is_not_known_is_refused_by_name(coding: bytes) -> None:
    with pytest.raises(HttpError, match=coding.decode()):
        ContentDecoder(coding)


def test_what_is_not_coded_as_it_says_is_refused() -> None:
    with pytest.raises(HttpError, match="not coded as gzip"):
        ContentDecoder(b"gzip").step(b'{"choices":[]}')


def test_a_body_that_ends_early_is_not_whole() -> None:
    decoder = ContentDecoder(b"gzip")
    decoder.step(gzip.compress(b"words " * 100)[:-9])
    with pytest.raises(HttpError, match="ends in the middle"):
        decoder.check_end()
