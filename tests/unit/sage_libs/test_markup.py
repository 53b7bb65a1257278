from __future__ import annotations

import pytest

from sage_libs.markup import plain_text


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("See [the guide](docs/guide.md#start) and ![a picture](a.png).", "See the guide and a picture."),
        ("**Bold**, *leaning*, `code` and ``x | y``.", "Bold, leaning, code and x | y."),
        (":command:`if`/:command:`endif` and :prop_gbl:`multi <IS_MULTI>`", "if/endif and multi"),
        ("`Find Modules`_ and `a page <https://example.com>`__", "Find Modules and a page"),
        (".. note:: Mind this.\n.. versionadded:: 3.1\nText::", "Mind this.\n\nText:"),
        ("2 * 3 * 4, snake_case_name and __init__.py", "2 * 3 * 4, snake_case_name and __init__.py"),
    ],
)
def test_marks_go_and_words_stay(marked: str, plain: str) -> None:
    assert plain_text(marked) == plain
