"""Usage over time as a chart: tokens an hour or day, stacked by tenant or model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from sage_client.management.tenants import UsageView

Split = Literal["tenant", "model"]
# What comes after so many is one colour.
MOST_SERIES = 8
OTHERS = "others"
# Readable on dark and on light.
GREY = "#8491a3"
COLOURS = ["#4c78dd", "#2f9e6b", "#d99a2b", "#b05cc6", "#3aa7b8", "#d15050", "#8a9a3b", "#a0785a", "#8491a3"]
UNKNOWN = {"tenant": "(none)", "model": "(no answer)"}


@dataclass(frozen=True, slots=True)
class ChartSpan:
    """How far a chart goes back, and its steps."""

    step: timedelta
    steps: int
    by: Literal["hour", "day"]
    pattern: str

    def begin(self, now: datetime) -> datetime:
        """Return the beginning of its first step."""
        whole = now.replace(minute=0, second=0, microsecond=0)
        if self.by == "day":
            whole = whole.replace(hour=0)
        return whole - self.step * (self.steps - 1)


SPANS = {
    "24 hours": ChartSpan(timedelta(hours=1), 24, "hour", "%H:00"),
    "30 days": ChartSpan(timedelta(days=1), 30, "day", "%d %b"),
}


def unix_ms(moment: datetime) -> int:
    """Return a moment as the API writes it."""
    return int(moment.timestamp() * 1000)


def usage_options(rows: Iterable[UsageView], span: ChartSpan, split: Split, now: datetime) -> dict[str, Any]:
    """Return ECharts' options; times are UTC, as the periods are."""
    begin = span.begin(now.astimezone(timezone.utc))
    starts = [begin + span.step * number for number in range(span.steps)]
    position = {unix_ms(start): number for number, start in enumerate(starts)}
    series: dict[str, list[int]] = defaultdict(lambda: [0] * span.steps)
    for row in rows:
        at = position.get(row.start_unix_ms or 0)
        if at is not None:
            name = (row.tenant if split == "tenant" else row.model) or UNKNOWN[split]
            series[name][at] += row.prompt_tokens + row.completion_tokens
    shown = _largest(series, span.steps)
    return {
        "animation": False,
        "grid": {"left": 8, "right": 8, "top": 36, "bottom": 8, "containLabel": True},
        "legend": {"top": 0, "left": 0, "type": "scroll", "textStyle": {"color": GREY}},
        "tooltip": {"trigger": "axis"},
        "color": COLOURS,
        "xAxis": {
            "type": "category",
            "data": [start.strftime(span.pattern) for start in starts],
            "axisLabel": {"color": GREY},
        },
        "yAxis": {"type": "value", "axisLabel": {"color": GREY}, "splitLine": {"lineStyle": {"opacity": 0.25}}},
        "series": [
            {"name": name, "type": "bar", "stack": "tokens", "barMaxWidth": 26, "data": values}
            for name, values in shown.items()
        ],
    }


def _largest(series: dict[str, list[int]], steps: int) -> dict[str, list[int]]:
    names = sorted(series, key=lambda name: -sum(series[name]))
    shown = {name: series[name] for name in names[:MOST_SERIES]}
    if len(names) > MOST_SERIES:
        shown[OTHERS] = [sum(series[name][step] for name in names[MOST_SERIES:]) for step in range(steps)]
    return shown
