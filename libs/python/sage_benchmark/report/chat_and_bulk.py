"""Chats beside bulk work: the figures that say whether one was kept from the other, as tables and bars of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sage_benchmark.report.bars import Bar, at_each_load
from sage_benchmark.report.metrics import Spread, SystemRuns
from sage_benchmark.report.report_table import ReportTable

CHAT = "by_class.interactive"
BULK = "by_class.bulk"
TOKENS = "tokens_in_time"
# Of the chats, and of the peer's tokens a second.
LEAST_WITHIN = 0.85
LEAST_TOKENS = 1.05


def chat_and_bulk_table(systems: Sequence[SystemRuns]) -> ReportTable:
    """Return the table of first tokens, tokens and attainment, a row for each system and load."""
    within = systems[0].runs[0].within_seconds if systems else 0.0
    rows = []
    for system in systems:
        figures = system.figures
        rows.append(
            (
                system.name,
                f"{system.load:g}",
                f"{_seconds(figures, f'{CHAT}.ttft.p50')} / {_seconds(figures, f'{CHAT}.ttft.p95')}",
                _cell(figures.get(f"{CHAT}.within"), 2),
                _seconds(figures, f"{BULK}.ttft.p50"),
                _cell(figures.get(TOKENS), 1),
                _cell(figures.get(f"{CHAT}.attainment"), 2),
                _cell(figures.get("attainment"), 2),
            )
        )
    return ReportTable(
        "Chat beside bulk",
        "Times from the scheduled arrival, in seconds; tokens that came while requests arrived. Means over the "
        "repetitions, in brackets the lowest and the highest. Attainment: within every target of the class.",
        (
            "system",
            "load",
            "chat TTFT p50 / p95",
            f"chats within {within:g} s",
            "bulk TTFT p50",
            "tokens/s",
            "chat attainment",
            "attainment",
        ),
        rows,
    )


RATIOS = (
    ("chat TTFT p50", f"{CHAT}.ttft.p50"),
    ("chat TTFT p95", f"{CHAT}.ttft.p95"),
    ("chats within", f"{CHAT}.within"),
    ("bulk TTFT p50", f"{BULK}.ttft.p50"),
    ("tokens/s", TOKENS),
    ("goodput", "goodput"),
)


def ratio_table(ours: str, systems: Sequence[SystemRuns]) -> ReportTable:
    """Return a table of the system called ``ours`` to each other one at the same load."""
    by_name = {(system.name, system.load): system.figures for system in systems}
    rows = []
    for system in systems:
        mine = by_name.get((ours, system.load))
        if system.name != ours and mine is not None:
            theirs = system.figures
            cells = [_ratio(mine.get(figure), theirs.get(figure)) for _, figure in RATIOS]
            rows.append((system.name, f"{system.load:g}", *cells))
    return ReportTable(
        f"{ours} to the others",
        "Ratios of means, of the same arrivals in the same run; of times below 1 is better, of the others above.",
        ("to", "load", *(name for name, _ in RATIOS)),
        rows,
    )


def chat_and_bulk_bars(ours: str, peer: str, systems: Sequence[SystemRuns]) -> list[Bar]:
    """``ours`` beside a peer that knows classes; nothing where one of them was not run."""
    bars: list[Bar] = []
    for where, those in at_each_load(systems):
        by_name = {system.name: system.figures for system in those}
        if ours in by_name and peer in by_name:
            bars += _bars(where, ours, by_name[ours], peer, by_name[peer])
    return bars


def _bars(
    where: str, ours: str, figures: Mapping[str, Spread], peer: str, theirs: Mapping[str, Spread]
) -> Iterator[Bar]:
    p95, within = f"{CHAT}.ttft.p95", f"{CHAT}.within"
    if p95 in figures and p95 in theirs:
        yield Bar(f"chat TTFT p95, {ours} beside {peer}{where}", figures[p95].mean, theirs[p95].mean, "ms")
        least = max(LEAST_WITHIN, theirs[within].mean)
        yield Bar(f"chats in time, {ours} beside {peer}{where}", figures[within].mean, least, at_most=False)
    if theirs[TOKENS].mean > 0:
        ratio = figures[TOKENS].mean / theirs[TOKENS].mean
        yield Bar(f"tokens/s, {ours} to {peer}{where}", ratio, LEAST_TOKENS, "×", at_most=False)


def _seconds(figures: Mapping[str, Spread], name: str) -> str:
    value, count = figures.get(name), figures.get(f"{name.rpartition('.')[0]}.count")
    # Percentiles of nothing are no zeros.
    if value is None or count is None or not count.high:
        return "–"
    return _cell(Spread(value.mean / 1e3, value.low / 1e3, value.high / 1e3, 0.0, value.repetitions), 2)


def _cell(value: Spread | None, digits: int) -> str:
    if value is None:
        return "–"
    mean = f"{value.mean:.{digits}f}"
    return f"{mean} ({value.low:.{digits}f}-{value.high:.{digits}f})" if value.repetitions > 1 else mean


def _ratio(ours: Spread | None, theirs: Spread | None) -> str:
    if ours is None or theirs is None or not theirs.mean:
        return "–"
    return f"{ours.mean / theirs.mean:.2f}"
