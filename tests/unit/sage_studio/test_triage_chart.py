"""The chart of the triage's page: each alert on the window that it is of."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from sage_apps.triage.triage_board import TriageBoard
from sage_studio.pages.triage_page import _options

START = datetime(2026, 3, 2, 9, tzinfo=timezone.utc)


def windows(board: TriageBoard, days: list[int], category: str = "login") -> None:
    for day in days:
        start = START + timedelta(days=day)
        window = {"start": start, "end": start + timedelta(minutes=10)}
        board.take("windows", [{"window": window, "category": category, "tickets": 7 + day, "last": "help"}])
    board.take("alerts", [{"window": window, "category": category, "tickets": 7 + day, "last": "help"}])


def test_an_alert_is_marked_on_its_own_day() -> None:
    board = TriageBoard()
    windows(board, [0, 1])
    options = _options(board)
    assert options["xAxis"]["data"] == ["02 Mar 09:10", "03 Mar 09:10"]
    (login,) = (one for one in options["series"] if one["name"] == "login")
    assert [one["coord"] for one in login["markPoint"]["data"]] == [["03 Mar 09:10", 8]]


def test_windows_of_one_day_are_named_by_their_time_and_unsorted_tickets_have_a_line() -> None:
    board = TriageBoard()
    assert "unsorted" not in {one["name"] for one in _options(board)["series"]}
    windows(board, [0], "unsorted")
    options = _options(board)
    assert options["xAxis"]["data"] == ["09:10"]
    assert options["series"][-1]["name"] == "unsorted"
