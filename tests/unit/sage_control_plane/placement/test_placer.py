"""Filters, scores and the pick, put together."""

from __future__ import annotations

from random import Random

import pytest
from fixtures.control_plane import engine, forecast, request

from sage_control_plane.placement.engine_view import EngineView
from sage_control_plane.placement.filters import engine_filters, request_filters
from sage_control_plane.placement.pickers import make_picker
from sage_control_plane.placement.placer import Placer
from sage_control_plane.placement.scorers import LeastWork
from sage_control_plane.pool.breaker import Breaker
from sage_control_plane.pool.breaker_settings import BreakerSettings
from sage_control_plane.pool.credits import Credits
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.prediction.pace import Pace
from sage_control_plane.request.engine_state import EnginePhase
from sage_control_plane.request.request import PendingRequest


def entry(engine_id: str = "e", *, seconds_per_token: float = 1e-3, token_cap: int = 0) -> EngineEntry:
    state = engine(engine_id, concurrency=2, token_cap=token_cap)
    breaker = Breaker(BreakerSettings())
    return EngineEntry(engine_id, state, Credits(state.spec, 0.0), breaker, Pace(), seconds_per_token, forecast())


class Favourite:
    """Scores one engine 1 and the others 0."""

    name = "favourite"

    def __init__(self, engine_id: str) -> None:
        self._engine_id = engine_id

    def score(self, view: EngineView, item: PendingRequest, now: float) -> float:
        return float(view.engine_id == self._engine_id)


def placer(*scorers: tuple[object, float]) -> Placer:
    weighted = scorers or ((LeastWork(), 1.0),)
    return Placer(engine_filters(0.1), request_filters(), weighted, make_picker("argmin"), Random(1))  # type: ignore[arg-type]


def refused_by(engine: EngineView, item: PendingRequest) -> str:
    """The name of the first filter that refuses the engine; empty when all admit it."""
    refusing = [refuses.name for refuses in engine_filters(0.1) if not refuses.admits(engine)]
    refusing += [refuses.name for refuses in request_filters() if not refuses.admits(engine, item)]
    return refusing[0] if refusing else ""


def test_each_filter_is_named_when_it_refuses() -> None:
    item, busy, cases = request("r", tokens=100), entry(token_cap=150), placer()
    assert refused_by(busy, item) == ""
    busy.credits.take(100)
    assert cases.admits(busy)
    assert refused_by(busy, item) == "tokens_fit"
    busy.credits.take(1)
    assert refused_by(busy, item) == "has_slot"
    assert not cases.admits(busy)


@pytest.mark.parametrize("change", ["breaker open", "draining", "starting"])
def test_an_engine_that_takes_no_work_is_refused_whatever_its_credits(change: str) -> None:
    idle = entry()
    if change == "breaker open":
        idle.breaker.open()
    elif change == "draining":
        idle.draining = True
    else:
        idle.state = engine("e", phase=EnginePhase.STARTING)
    assert refused_by(idle, request("r")) == "usable"
    assert not placer().admits(idle)


def test_least_work_counts_tokens_and_speed() -> None:
    item = request("r", tokens=100)
    idle, loaded, slow = entry("idle"), entry("loaded"), entry("slow", seconds_per_token=1e-2)
    loaded.credits.take(300)
    scores = {view.engine_id: LeastWork().score(view, item, 0.0) for view in (idle, loaded, slow)}
    assert scores["idle"] == pytest.approx(1 / 1.1)
    assert scores["loaded"] == pytest.approx(1 / 1.4)
    assert scores["slow"] == pytest.approx(1 / 2)
    placement = placer().place(item, [slow, loaded, idle], 0.0)
    assert placement is not None
    assert placement.engine_id == "idle"
    assert {one.engine_id: one.score for one in placement.candidates} == pytest.approx(scores)


def test_scores_are_added_by_weight() -> None:
    near, far = entry("near"), entry("far")
    far.credits.take(5000)
    item = request("r")
    slight, strong = Favourite("far"), Favourite("far")
    weak = placer((LeastWork(), 10.0), (slight, 1.0)).place(item, [near, far], 0.0)
    firm = placer((LeastWork(), 1.0), (strong, 10.0)).place(item, [near, far], 0.0)
    assert weak is not None
    assert firm is not None
    assert (weak.engine_id, firm.engine_id) == ("near", "far")


def test_a_favourite_is_looked_at_whatever_the_picker_looks_at() -> None:
    engines = [entry(f"e{number}") for number in range(100)]
    cases = Placer(
        engine_filters(0.1), request_filters(), [(Favourite("e42"), 1.0)], make_picker("power_of_two"), Random(1)
    )
    placement = cases.place(request("r"), engines, 0.0, engines[42])
    assert placement is not None
    assert placement.engine_id == "e42"
    assert len(placement.candidates) <= 3


def test_nothing_is_placed_where_nothing_fits() -> None:
    full = entry(token_cap=100)
    full.credits.take(100)
    assert placer().place(request("r", tokens=10), [full], 0.0) is None
    assert placer().place(request("r"), [], 0.0) is None
