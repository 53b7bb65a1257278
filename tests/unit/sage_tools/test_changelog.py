"""The shape of a changelog."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage_tools.changelog import problems_of

ROOT = Path(__file__).parents[3]
GOOD = """# Changelog

Some words.

## [Unreleased]

### Added

- One thing,
  told in two lines.

### Fixed

- Another.

## [0.2.0] - 2026-11-30

### Added

- A third.

## [0.1.0] - 2026-01-31

### Changed

- A fourth.
"""


def test_the_changelog_of_this_repository_is_in_order() -> None:
    assert problems_of((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")) == []


def test_one_in_order_has_no_problems_and_names_its_latest_release() -> None:
    assert problems_of(GOOD) == []
    assert problems_of(GOOD, "0.2.0") == []
    assert problems_of(GOOD, "0.3.0") == ["the latest release told of is 0.2.0, and the packages are 0.3.0"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("## [Unreleased]", "## Unreleased", "the first section is not"),
        ("## [0.2.0] - 2026-11-30", "## [Unreleased]", "line 16: a second section [Unreleased]"),
        ("## [0.2.0] - 2026-11-30", "## [0.2.0]", "line 16: `## [0.2.0]` is neither"),
        ("2026-11-30", "2026-11-31", "line 16: 2026-11-31 is no day"),
        ("## [0.1.0]", "## [0.3.0]", "line 22: 0.3.0 stands below an older version"),
        ("### Fixed", "### Mended", "line 12: `### Mended` is none of ### Added, "),
        ("### Fixed", "### Added", "line 12: a second `### Added` of [Unreleased]"),
        ("- Another.", "", "nothing below `### Fixed` of [Unreleased]"),
        ("- Another.", "Another.", "line 14: neither a change"),
        ("### Added\n\n- One thing", "- One thing", "line 7: a change of [Unreleased] below no kind"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, problem: str) -> None:
    found = problems_of(GOOD.replace(old, new, 1))
    assert any(one.startswith(problem) or problem in one for one in found), found


def test_an_empty_file_and_a_release_that_is_nowhere_are_problems() -> None:
    assert len(problems_of("")) == 1
    assert problems_of("# Changelog\n\n## [Unreleased]\n", "1.0.0") == [
        "no release is told of; 1.0.0 needs its section, with what is below [Unreleased] now"
    ]
