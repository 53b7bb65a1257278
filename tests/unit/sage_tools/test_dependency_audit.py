from __future__ import annotations

import json

import pytest

from sage_tools.dependency_audit import verdict

CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "sage-mesh", "skip_reason": "not on the index"}
ISSUE = {"id": "PYSEC-1", "fix_versions": ["2"]}


def test_clean_packages_pass_and_those_that_were_not_asked_about_are_counted() -> None:
    assert verdict(0, json.dumps({"dependencies": [CLEAN, SKIPPED]}), "") == (
        0,
        "1 packages were asked about, 1 are not on the index; nothing is known against them",
    )


def test_a_known_issue_fails_with_the_version_that_mends_it() -> None:
    status, message = verdict(1, json.dumps({"dependencies": [CLEAN, {**CLEAN, "vulns": [ISSUE]}]}), "Found 1")
    assert (status, message.splitlines()[0]) == (1, "a 1: PYSEC-1, mended in 2")


@pytest.mark.parametrize("word", ["requests.exceptions.ConnectionError: x", "urllib3: Max retries exceeded with url"])
def test_a_database_out_of_reach_is_said_and_fails_nothing(word: str) -> None:
    status, message = verdict(1, "", f"Traceback\n{word}")
    assert status == 0
    assert message.startswith("not audited: the advisory database is out of reach")
    assert word in message


def test_another_failure_is_one() -> None:
    assert verdict(2, "", "No such option: --path") == (1, "pip-audit failed:\nNo such option: --path")
