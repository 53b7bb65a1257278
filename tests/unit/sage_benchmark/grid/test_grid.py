"""The grid plays every combination, the same way each time, and names the worst cell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from sage_benchmark.bound.reach import Reach
from sage_benchmark.grid.cell_result import CellResult, Played
from sage_benchmark.grid.grid_cell import CONCURRENCY_NOT_TOLD, Grid, GridWorkload
from sage_benchmark.grid.grid_report import GridReport, Summary, learned_ratios, render_grid, write_grid
from sage_benchmark.grid.grid_run import GridPlan, run_grid
from sage_benchmark.report.metrics import Percentiles
from sage_benchmark.simulator.clairvoyant import ClairvoyantOrder, ClairvoyantPolicy
from sage_benchmark.simulator.simulation import Simulation
from sage_common.errors import InvalidRequestError
from sage_control_plane.request.engine_state import CapacitySource
from sage_control_plane.request.request import ServiceClass

SMALL = Grid(
    seats=(4, 48), shares=(0.5,), loads=(1.3,), cvs=(1.0,), speeds=("fast",), least_seconds=5.0, least_chats=20
)


def played(attainment: float, *, learned: float | None = None) -> Played:
    nothing = Percentiles.of([0.1])
    return Played(Reach(attainment, 1.0), learned, 10, nothing, nothing, 5.0, 0.5)


def result(seats: int, attainment: float, *, told: bool = True, learned: float | None = None) -> CellResult:
    workload = GridWorkload("fast", seats, 0.5, 1.3, 1.0)
    return CellResult(workload, "hybrid", told, played(attainment, learned=learned), None, Reach(0.8, 2.0))


def test_every_combination_is_played_in_the_order_of_the_grid() -> None:
    said: list[str] = []
    results = run_grid(GridPlan(SMALL), said.append, processes=1)
    assert [(r.workload.seats, r.told) for r in results] == [(4, True), (4, False), (48, True), (48, False)]
    assert len(said) == 4


@pytest.mark.long
def test_processes_of_their_own_give_the_same_results() -> None:
    alone = run_grid(GridPlan(SMALL), lambda _: None, processes=1)
    assert run_grid(GridPlan(SMALL), lambda _: None, processes=2) == alone


@pytest.mark.parametrize(
    ("told", "registered", "source"),
    [(True, 4, CapacitySource.TOLD), (False, CONCURRENCY_NOT_TOLD, CapacitySource.UNKNOWN)],
)
def test_an_engine_registers_with_its_seats_only_where_they_are_told(
    told: bool, registered: int, source: CapacitySource
) -> None:
    simulation = Simulation(GridWorkload("fast", 4, 0.5, 1.3, 1.0).simulation("hybrid", told=told), [])
    simulation.run()
    assert simulation.plan.engine.max_num_seqs == 4
    spec = simulation.manager.engines["engine-0"].state.spec
    assert (spec.max_concurrency, spec.capacity_source) == (registered, source)


def test_heuristics_are_a_yardstick_where_they_are_asked_for() -> None:
    told, _ = run_grid(GridPlan(replace(SMALL, seats=(4,)), heuristics=True), lambda _: None)
    assert told.best is not None
    assert 0 < told.best.attainment <= 1


def test_a_cell_lasts_until_enough_chats_are_expected() -> None:
    few = GridWorkload("slow", 2, 0.1, 0.7, 1.0, least_seconds=10.0, least_chats=300)
    chats = [a for a in few.settings().arrivals(few.engine, 1) if a.service_class is ServiceClass.INTERACTIVE]
    assert 240 < len(chats) < 360
    assert few.seconds > 1_000


@pytest.mark.parametrize(
    ("speed", "seats", "share", "load"),
    [("medium", 4, 0.5, 1.0), ("fast", 0, 0.5, 1.0), ("fast", 4, 1.0, 1.0), ("fast", 4, 0.5, 0.0)],
)
def test_a_cell_that_cannot_be_is_refused(speed: str, seats: int, share: float, load: float) -> None:
    with pytest.raises(InvalidRequestError):
        GridWorkload(speed, seats, share, load, 1.0)


def test_the_summary_names_the_worst_cell_by_its_ratio() -> None:
    found = Summary.of([result(2, 0.4), result(4, 0.2), result(16, 0.8)])
    assert (found.worst.workload.seats, found.lowest, found.median) == (4, 0.25, 0.5)


def test_capacity_not_told_is_held_against_the_same_cell_told() -> None:
    results = [result(2, 0.4, learned=0.8), result(2, 0.4, told=False, learned=0.6), result(4, 0.4, told=False)]
    ((ratio, where),) = learned_ratios(results)
    assert ratio == pytest.approx(0.75)
    assert where is results[1]


def test_a_report_has_a_table_and_a_heat_map_and_names_the_worst(tmp_path: Path) -> None:
    report = GridReport("sage bench grid", GridPlan(SMALL), [result(4, 0.8), result(48, 0.4, told=False)])
    folder = write_grid(tmp_path, "20260102T030405Z", report)
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.md", "heat-map-hybrid.png"}
    assert orjson.loads((folder / "report.json").read_bytes())["cells"][1]["ratio"] == 0.5
    assert result(48, 0.4, told=False).name() in render_grid(report).split("## Cells")[0]
    with pytest.raises(FileExistsError):
        write_grid(tmp_path, "20260102T030405Z", report)


def test_without_a_yardstick_there_is_no_ratio() -> None:
    bare = CellResult(GridWorkload("fast", 4, 0.5, 1.3, 1.0), "hybrid", True, played(0.7))
    assert bare.ratio is None
    assert "no ratios" in render_grid(GridReport("sage bench grid", GridPlan(SMALL), [bare]))


def test_what_is_not_worth_serving_waits_until_nothing_else_does() -> None:
    workload = GridWorkload("slow", 2, 0.7, 2.0, 1.0, least_seconds=30.0, least_chats=20)
    arrivals = workload.settings().arrivals(workload.engine, 1)
    chats = [str(a.index) for a in arrivals if a.service_class is ServiceClass.INTERACTIVE]
    chosen = frozenset(chats[::3])
    cost = {str(arrival.index): 1.0 for arrival in arrivals}
    policy = ClairvoyantPolicy(cost, ClairvoyantOrder.LAXITY, 0.0, 1e9, chosen)
    simulation = Simulation(workload.simulation("fifo"), arrivals[: int(chats[-1])])
    simulation.manager.use_policy(policy, 0.0)
    begun = {str(o.arrival.index) for o in simulation.run() if o.first_token_at is not None}
    assert begun
    assert begun <= chosen
