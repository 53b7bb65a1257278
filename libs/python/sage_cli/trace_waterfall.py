"""A trace for the terminal: its spans as a tree, and when each began and how long it took as bars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sage_client.management.traces import SpanView

# What the two times take, and what the bars get at least.
_TIMES_WIDTH = 2 * 8 + 3 * 2
_LEAST_BAR = 14
_MOST_WIDTH = 100
_PARTS = " ▏▎▍▌▋▊▉█"


class _Row(NamedTuple):
    """A line: a span, or what happened within one."""

    label: Text
    at_ms: float
    took_ms: float | None
    failed: bool


def waterfall(spans: Sequence[SpanView], width: int) -> RenderableType:
    """Render the spans of one trace in ``width`` columns.

    Times count from the beginning of the first span, by the clocks of the machines that the spans are from.
    """
    # A pipe has no width.
    width = min(width, _MOST_WIDTH)
    rows = list(_rows(spans))
    total_ms = max((row.at_ms + (row.took_ms or 0.0) for row in rows), default=0.0)
    name_width = min(max(len(row.label) for row in rows), max(1, width - _TIMES_WIDTH - _LEAST_BAR))
    bar_width = max(_LEAST_BAR, width - _TIMES_WIDTH - name_width)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("service and step", no_wrap=True, overflow="ellipsis", width=name_width)
    table.add_column("at", justify="right", no_wrap=True, width=8)
    table.add_column("took", justify="right", no_wrap=True, width=8)
    table.add_column("", no_wrap=True, width=bar_width)
    for row in rows:
        style = "red" if row.failed else "cyan"
        took = "" if row.took_ms is None else _milliseconds(row.took_ms)
        bar = Text(_bar(row, total_ms, bar_width), style=style)
        table.add_row(row.label, _milliseconds(row.at_ms), took, bar)
    services = len({span.service for span in spans})
    headline = Text.assemble(
        ("trace ", "dim"), (spans[0].trace_id, "bold"), f"  {_milliseconds(total_ms)}, {len(spans)} spans of ",
        f"{services} service{'' if services == 1 else 's'}",
    )  # fmt: skip
    return Group(headline, table)


def _rows(spans: Sequence[SpanView]) -> Iterator[_Row]:
    known = {span.span_id for span in spans}
    children: defaultdict[str, list[SpanView]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: (span.start_unix_ns, -span.duration_ms)):
        # The parent of the first span is its caller's, and one that was not kept is nobody's here.
        children[span.parent_id if span.parent_id in known else ""].append(span)
    began_ns = min(span.start_unix_ns for span in spans)

    def below(parent: str, indent: str) -> Iterator[_Row]:
        for number, span in enumerate(siblings := children[parent]):
            last = number == len(siblings) - 1
            branch = "" if not parent else "└ " if last else "├ "
            at_ms = (span.start_unix_ns - began_ns) / 1e6
            label = Text.assemble((indent + branch, "dim"), (f"{span.service} ", "dim"), span.name)
            if span.error:
                label.append(f": {span.error}", style="red")
            yield _Row(label, at_ms, span.duration_ms, bool(span.error))
            inner = indent + ("" if not parent else "  " if last else "│ ")
            for event in span.events:
                told = f"· {event.name.replace('_', ' ')}"
                if reason := event.attributes.get("sage.reason"):
                    told += f": {reason}"
                bar = "│ " if children[span.span_id] else "  "
                yield _Row(Text(f"{inner}{bar}{told}", style="dim"), at_ms + event.offset_ms, None, failed=False)
            yield from below(span.span_id, inner)

    yield from below("", "")


def _bar(row: _Row, total_ms: float, width: int) -> str:
    """Return the bar of a row, in eighths of a character; a moment is a dot."""
    if total_ms <= 0:
        return ""
    begin = min(max(row.at_ms / total_ms, 0.0), 1.0) * width
    if row.took_ms is None:
        return " " * min(int(begin), width - 1) + "·"
    end = min(begin + row.took_ms / total_ms * width, float(width))
    first = min(int(begin), width - 1)
    eighths = max(1, round((end - first) * 8))
    full, rest = divmod(eighths, 8)
    return (" " * first + "█" * full + _PARTS[rest].strip())[:width]


def _milliseconds(milliseconds: float) -> str:
    if milliseconds < 1000:
        return f"{milliseconds:.2f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"
