"""Heads of requests: where they go, and that no header is more than a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_mesh.upstream.http.request_head import Origin, RequestHeads, render_headers, split_url


@pytest.mark.parametrize(
    ("url", "origin", "authority", "path"),
    [
        ("http://a/v1/chat", Origin("http", "a", 80), "a", "/v1/chat"),
        ("http://a:80", Origin("http", "a", 80), "a", "/"),
        ("https://A.example:8443/x", Origin("https", "a.example", 8443), "a.example:8443", "/x"),
        ("https://a", Origin("https", "a", 443), "a", "/"),
        ("http://[::1]:8001/v1", Origin("http", "::1", 8001), "[::1]:8001", "/v1"),
        ("http://bücher.example/ä b%20c", Origin("http", "xn--bcher-kva.example", 80), None, "/%C3%A4%20b%20c"),
        ("http://a/m/@cf/x;y=1", Origin("http", "a", 80), "a", "/m/@cf/x;y=1"),
    ],
)
def test_a_url_is_an_origin_and_a_path(url: str, origin: Origin, authority: str | None, path: str) -> None:
    assert split_url(url) == (origin, path)
    assert authority is None or origin.authority == authority


@pytest.mark.parametrize("url", ["ftp://a", "a:80", "http://", "http://a:99999", "http://a:b"])
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"HTTP URL|[Pp]ort"):
        split_url(url)


def test_a_head_has_the_common_headers_the_length_and_its_own() -> None:
    origin, _ = split_url("http://a:1")
    heads = RequestHeads(origin, {"Authorization": "Bearer k"})
    assert heads.post("http://a:1/v1/x", {"X-Request-Id": "r"}, 7) == (
        b"POST /v1/x HTTP/1.1\r\nHost: a:1\r\nAuthorization: Bearer k\r\nContent-Length: 7\r\nX-Request-Id: r\r\n\r\n"
    )
    assert heads.post("http://a:1/v1/x", {}, 0).endswith(b"Content-Length: 0\r\n\r\n")


def test_a_request_to_another_server_is_refused() -> None:
    origin, _ = split_url("http://a:1")
    with pytest.raises(ValueError, match="not at a:1"):
        RequestHeads(origin, {}).post("http://a:2/v1", {}, 0)


@given(
    st.dictionaries(
        st.text("abc-", min_size=1), st.text(st.characters(codec="utf-8") | st.sampled_from("\r\n\0")), max_size=4
    )
)
def test_a_header_is_one_line_or_refused(headers: dict[str, str]) -> None:
    if any(end in value for value in headers.values() for end in "\r\n\0"):
        with pytest.raises(ValueError, match="line end"):
            render_headers(headers)
    else:
        lines = render_headers(headers).split(b"\r\n")
        assert lines == [*(f"{name}: {value}".encode() for name, value in headers.items()), b""]


def test_the_value_of_a_refused_header_is_not_told() -> None:
    with pytest.raises(ValueError, match="Authorization") as refusal:
        render_headers({"Authorization": "Bearer sk-secret\n"})
    assert "secret" not in str(refusal.value)
