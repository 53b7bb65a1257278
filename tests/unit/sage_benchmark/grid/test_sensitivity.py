"""Constants are found, changed within their ranges, and played at half and at double their value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from sage_benchmark.grid.constants import constants_of, with_constant
from sage_benchmark.grid.grid_cell import Grid
from sage_benchmark.grid.grid_run import GridPlan, run_grid
from sage_benchmark.grid.sensitivity import FACTORS, render_sensitivity, run_sensitivity, write_sensitivity
from sage_common.errors import InvalidRequestError
from sage_control_plane.policies.registry import policy_names
from sage_control_plane.settings import ControlSettings

CONTROL = ControlSettings()
SMALL = Grid((4,), (0.5,), (1.5,), (1.0,), ("fast",), (True,), ("priority",), least_seconds=5.0, least_chats=20)


def test_the_constants_of_a_policy_are_its_own_and_those_that_all_share() -> None:
    names = constants_of(CONTROL, "priority").keys()
    assert {"priority.ageing_seconds", "headroom", "prompt_seconds", "prediction.forgetting"} <= names
    assert not [name for name in names if name.startswith(("hybrid.", "admission.", "hedging."))]


def test_every_constant_can_be_changed_by_its_name() -> None:
    for policy in policy_names():
        for name, value in constants_of(CONTROL, policy).items():
            assert constants_of(with_constant(CONTROL, name, value), policy) == constants_of(CONTROL, policy)
    changed = with_constant(CONTROL, "priority.ageing_seconds", 7.5)
    assert constants_of(changed, "priority")["priority.ageing_seconds"] == 7.5


def test_a_whole_number_stays_one() -> None:
    changed = with_constant(CONTROL, "prediction.least_samples", 10.4)
    assert changed.prediction.least_samples == 10


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("headroom", -0.1, "at least 0"),
        ("headroom", 11.0, "at most 10"),
        ("prompt_seconds", 0.0, "above 0"),
        ("hybrid.nothing", 1.0, "nothing"),
        ("nothing.margin", 1.0, "nothing"),
        ("picker", 1.0, "no number"),
    ],
)
def test_what_cannot_be_set_is_refused_with_its_name(name: str, value: float, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words) as caught:
        with_constant(CONTROL, name, value)
    assert name in str(caught.value)


def test_each_constant_is_played_at_half_and_at_double(tmp_path: Path) -> None:
    plan = GridPlan(SMALL)
    found = run_sensitivity(plan, "sage bench grid --sensitivity", lambda _: None, processes=1)
    constants = constants_of(CONTROL, "priority")
    assert {one.name for one in found.constants} == {name for name, value in constants.items() if value}
    by_name = {one.name: one for one in found.constants}
    # A quantile cannot be 1.2.
    half, double = by_name["prediction.output_quantile"].at
    assert (half is None, double is None) == (False, True)
    ageing = by_name["priority.ageing_seconds"]
    for factor, figures in zip(FACTORS, ageing.at, strict=True):
        alone = replace(plan, control=with_constant(CONTROL, ageing.name, ageing.value * factor))
        (result,) = run_grid(alone, lambda _: None, processes=1)
        assert figures is not None
        assert figures.lowest == result.ratio
    folder = write_sensitivity(tmp_path, "20260102T030405Z", found)
    assert orjson.loads((folder / "report.json").read_bytes())["policy"] == "priority"
    assert "| priority.ageing_seconds | 5 |" in render_sensitivity(found)


def test_a_constant_that_is_zero_has_no_half_and_no_double() -> None:
    plan = GridPlan(SMALL, control=with_constant(CONTROL, "headroom", 0.0))
    found = run_sensitivity(plan, "", lambda _: None, processes=1)
    assert "headroom" not in {one.name for one in found.constants}
