"""A request of the playground as code."""

from __future__ import annotations

import json

from sage_studio.snippets import as_curl


def test_ends_of_lines_that_json_does_not_know_are_written_as_escapes() -> None:
    body = {"text": "a\u2028b\u2029c\u0085d é"}
    shown = as_curl("http://mesh", "/v1/chat/completions", body, needs_key=False).partition("-d '")[2].rstrip("'")
    assert shown == '{"text": "a\\u2028b\\u2029c\\u0085d é"}'
    assert json.loads(shown) == body
