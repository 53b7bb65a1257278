"""Live and simulated attainment stand side by side, and a class that is far apart is a missed bar."""

from __future__ import annotations

from sage_benchmark.report.bars import agreement_bars, agreements
from sage_benchmark.report.metrics import Spread


def figures(every: float, interactive: float, bulk: float) -> dict[str, Spread]:
    values = {
        "requests": 100.0,
        "attainment": every,
        "by_class.interactive.requests": 60.0,
        "by_class.interactive.attainment": interactive,
        "by_class.bulk.requests": 40.0,
        "by_class.bulk.attainment": bulk,
    }
    return {name: Spread.of([value]) for name, value in values.items()}


def test_each_class_has_a_difference_in_points_with_its_sign() -> None:
    found = agreements("hybrid", 1.3, figures(0.9, 0.82, 1.0), figures(0.95, 0.99, 0.98))
    assert [(item.group, item.requests, round(item.points, 6)) for item in found] == [
        ("all", 100, -5.0),
        ("interactive", 60, -17.0),
        ("bulk", 40, 2.0),
    ]


def test_the_class_that_is_farthest_apart_is_held_against_the_bar() -> None:
    found = agreements("hybrid", 1.3, figures(0.96, 0.82, 1.0), figures(0.95, 0.99, 0.98))
    bars = agreement_bars(found)
    assert [(bar.name.rpartition(" ")[2], bar.reached) for bar in bars] == [("all", True), ("interactive", False)]
