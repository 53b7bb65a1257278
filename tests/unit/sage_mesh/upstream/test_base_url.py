"""Base URLs are shown to tenants, and so must hold nothing that is secret."""

from __future__ import annotations

import pytest

from sage_mesh.upstream.base_url import base_url


@pytest.mark.parametrize(
    "url", ["ftp://ann:pw@host/v1", "http://ann:pw@host/v1", "http://:pw@host", "http://host/v1?key=pw", "http://h#pw"]
)
def test_a_url_with_a_secret_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="would be shown") as caught:
        base_url(url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("url", ["host:8001", "ftp://host/v1", "http:///v1"])
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no HTTP URL"):
        base_url(url)


def test_the_slash_at_the_end_goes() -> None:
    assert base_url("http://host:1/v1/") == "http://host:1/v1"
    assert base_url("") == ""
