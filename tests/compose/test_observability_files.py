"""Dashboards and alerts speak of metrics that there are; no server is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from fixtures.observability_files import DASHBOARDS, FOLDER, asked, known_names, names_in, panels, rules

from sage_tools import metrics_page


@pytest.mark.parametrize(("place", "expression"), asked())
def test_an_expression_speaks_of_metrics_that_there_are(place: str, expression: str) -> None:
    names = names_in(expression)
    assert names
    assert names <= known_names()


def test_every_metric_of_a_request_is_on_a_dashboard_or_in_an_alert() -> None:
    shown = {name for one in asked() for name in names_in(one.expression)}
    hidden = {
        row.name
        for service in ("gateway", "scheduler", "dataflow-worker")
        for row in metrics_page.metrics_by_service()[service]
        if not any(name.startswith(row.name) for name in shown)
    }
    assert hidden == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_have_places_of_their_own(path: Path) -> None:
    board = json.loads(path.read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))


def test_panels_ask_the_source_that_is_provisioned() -> None:
    sources = yaml.safe_load((FOLDER / "grafana" / "datasources.yaml").read_text(encoding="utf-8"))["datasources"]
    uids = {source["uid"] for source in sources}
    assert {panel["datasource"]["uid"] for _, panel in panels() if "datasource" in panel} <= uids


def test_alerts_say_what_happened_and_what_to_do() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert {"summary", "description"} <= set(rule["annotations"])


def test_the_page_of_metrics_is_what_the_code_says() -> None:
    path = FOLDER.parents[1] / metrics_page.PAGE
    assert path.read_text(encoding="utf-8") == metrics_page.page(), "run python -m sage_tools.metrics_page"
