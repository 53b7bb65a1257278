"""Where a visitor is led after they have given a key."""

from __future__ import annotations

import pytest

from sage_studio.key_routes import _own_path


@pytest.mark.parametrize("path", ["/", "/requests", "/requests/r?with=s"])
def test_a_path_of_the_studio_is_where_it_goes(path: str) -> None:
    assert _own_path(path) == path


@pytest.mark.parametrize(
    "path", ["", "//evil.example", "/\\evil.example", "https://evil.example", "a", "/a\r\nb", "/\t/x", "//[", "/\\["]
)
def test_anything_else_is_the_first_page(path: str) -> None:
    assert _own_path(path) == "/"
