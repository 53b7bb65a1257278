"""``sage usage`` on a terminal of eighty columns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sage_cli.commands.usage import _print_rows
from sage_client.management.tenants import UsageView

DAY = 1_796_083_200_000


def row(start_unix_ms: int | None) -> UsageView:
    return UsageView(
        start_unix_ms=start_unix_ms,
        tenant="default",
        key_id="",
        model="all-MiniLM-L6-v2",
        requests=50,
        failed=1,
        prompt_tokens=174_883,
        cached_tokens=12,
        completion_tokens=0,
        money="0.00000975",
    )


@pytest.mark.parametrize(("by", "begins"), [("day", "2026-12-01  default"), ("hour", "2026-12-01 00:00  default")])
def test_a_row_for_each_period_says_which(
    by: str, begins: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sage_cli.consoles.PIPE_COLUMNS", 80)
    _print_rows([row(DAY)], by)
    head, line = capsys.readouterr().out.splitlines()
    assert head.startswith("from")
    assert line.startswith(begins)
    assert "0.00000975" in line


def test_sums_have_no_column_for_a_period(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sage_cli.consoles.PIPE_COLUMNS", 80)
    _print_rows([row(None)], "all")
    assert capsys.readouterr().out.startswith("tenant")


def test_rows_that_differ_in_the_name_that_was_used_show_it_and_no_money_where_nothing_has_a_price(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sage_cli.consoles.PIPE_COLUMNS", 80)
    free = replace(row(DAY), money="0")
    _print_rows([free, replace(free, route="assistant")], "day")
    head, *lines = capsys.readouterr().out.splitlines()
    assert "money" not in head
    assert "assistant" in lines[1]
