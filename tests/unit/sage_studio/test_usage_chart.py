"""Usage as a chart."""

from __future__ import annotations

from datetime import datetime, timezone

from sage_client.management.tenants import UsageView
from sage_studio.usage_chart import MOST_SERIES, OTHERS, SPANS, unix_ms, usage_options

NOW = datetime(2026, 11, 30, 13, 45, tzinfo=timezone.utc)
DAY, MONTH = SPANS["24 hours"], SPANS["30 days"]


def row(hour: int, tenant: str, model: str = "m", prompt: int = 10, completion: int = 5) -> UsageView:
    start = unix_ms(NOW.replace(hour=hour, minute=0))
    return UsageView(start, tenant, "", model, 1, 0, prompt, 0, completion, "0")


def test_tokens_are_stacked_by_hour_the_largest_first() -> None:
    options = usage_options([row(13, "ann"), row(13, "ann", "n"), row(12, "bob")], DAY, "tenant", NOW)
    ann, bob = options["series"]
    assert (ann["name"], ann["data"][-2:], sum(ann["data"])) == ("ann", [0, 30], 30)
    assert (bob["name"], bob["data"][-2:]) == ("bob", [15, 0])
    assert options["xAxis"]["data"][-2:] == ["12:00", "13:00"]
    assert len(options["xAxis"]["data"]) == 24


def test_models_that_gave_no_answer_have_a_name_and_too_many_are_summed() -> None:
    rows = [row(13, "ann", f"m{number}", prompt=100 - number) for number in range(MOST_SERIES + 2)]
    shown = usage_options([*rows, row(13, "ann", "", prompt=1000)], DAY, "model", NOW)["series"]
    names = [one["name"] for one in shown]
    assert (names[0], names[-1], len(names)) == ("(no answer)", OTHERS, MOST_SERIES + 1)
    assert sum(one["data"][-1] for one in shown) == sum(r.prompt_tokens + 5 for r in rows) + 1005


def test_a_month_begins_at_midnight_thirty_days_ago() -> None:
    assert MONTH.begin(NOW) == datetime(2026, 11, 1, tzinfo=timezone.utc)
    assert DAY.begin(NOW) == datetime(2026, 11, 29, 14, tzinfo=timezone.utc)
