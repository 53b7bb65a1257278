"""Figures that the policies have to reach, taken from their runs."""

from __future__ import annotations

from collections.abc import Sequence

from sage_benchmark.report.benchmark_report import Bar, SystemRuns

INTERACTIVE = "by_class.interactive.attainment"


def policy_bars(systems: Sequence[SystemRuns]) -> list[Bar]:
    """``hybrid`` beside ``fifo``: interactive attainment, and goodput as a ratio. Nothing where one is missing."""
    by_name = {system.name: system.figures for system in systems}
    if not {"hybrid", "fifo"} <= by_name.keys():
        return []
    hybrid, fifo = by_name["hybrid"], by_name["fifo"]
    bars = []
    if INTERACTIVE in hybrid and INTERACTIVE in fifo:
        bars.append(Bar("interactive attainment, hybrid", hybrid[INTERACTIVE].mean, 0.95, at_most=False))
        bars.append(Bar("interactive attainment, fifo", fifo[INTERACTIVE].mean, 0.5))
    if fifo["goodput"].mean > 0:
        ratio = hybrid["goodput"].mean / fifo["goodput"].mean
        bars.append(Bar("goodput, hybrid to fifo", ratio, 1.5, "×", at_most=False))
    return bars


def peer_bars(ours: SystemRuns, peers: Sequence[SystemRuns]) -> list[Bar]:
    """The mesh beside each peer: goodput as a ratio, and the slowest first tokens of interactive requests."""
    figures = ours.figures
    p99 = "by_class.interactive.ttft.p99"
    bars = []
    for peer in peers:
        theirs = peer.figures
        if theirs["goodput"].mean > 0:
            ratio = figures["goodput"].mean / theirs["goodput"].mean
            bars.append(Bar(f"goodput, {ours.name} to {peer.name}", ratio, 1.0, "×", at_most=False))
        if theirs.get("by_class.interactive.ttft.count") and p99 in figures:
            bars.append(Bar(f"interactive TTFT p99, beside {peer.name}", figures[p99].mean, theirs[p99].mean, "ms"))
    return bars
