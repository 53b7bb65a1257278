"""`sage policy`: what it reads from its options, and what it shows."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from sage_cli.commands import policy
from sage_client.management.views import PolicyChange, PolicyInForce, PolicySettingView
from sage_common.errors import InvalidRequestError

SETTINGS = (PolicySettingView("margin", 0.1, 0.05, "kept"), PolicySettingView("lead_seconds", 0.5, 0.5, "ahead"))


def test_settings_are_given_as_numbers_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def order(name: str, pool: str, settings: dict[str, float]) -> PolicyChange:
        asked.append((name, pool, settings))
        return PolicyChange(pool or None, "fifo", name)

    monkeypatch.setattr(policy, "_set", order)
    done = CliRunner().invoke(policy.app, ["set", "hybrid", "--set", "margin=0.1", "--set", "lead_seconds = 2"])
    assert (done.exit_code, done.stdout) == (0, "every pool: fifo -> hybrid\n"), done.output
    assert asked == [("hybrid", "", {"margin": 0.1, "lead_seconds": 2.0})]


@pytest.mark.parametrize("given", ["margin", "margin=", "margin=wide"])
def test_what_is_no_number_is_answered_with_how_to_write_it(given: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"write NAME=NUMBER, for example --set margin=0\.1"):
        policy._numbers([given])


def test_what_is_set_is_shown_beside_what_was_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(pool: str) -> PolicyInForce:
        return PolicyInForce("main", "hybrid", ("fifo", "hybrid"), SETTINGS)

    monkeypatch.setattr(policy, "_get", found)
    done = CliRunner().invoke(policy.app, ["get"])
    assert done.stdout == "hybrid\n"
    assert "margin = 0.1 (configured: 0.05)  # kept" in done.stderr
    assert "lead_seconds = 0.5  # ahead" in done.stderr
