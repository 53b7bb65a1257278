from __future__ import annotations

from pathlib import Path

import pytest

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.workload.load_settings import LoadSettings
from sage_benchmark.workload.mixed_load import GREEDY
from sage_benchmark.workload.workload import offered_load

CONFIG = EngineModelConfig()


def test_the_same_seed_gives_the_same_arrivals_and_another_others() -> None:
    load = LoadSettings(seconds=5)
    assert load.arrivals(CONFIG, 1) == load.arrivals(CONFIG, 1)
    assert load.arrivals(CONFIG, 1) != load.arrivals(CONFIG, 2)


def test_the_mixed_load_offers_what_it_was_asked_to() -> None:
    load = LoadSettings(seconds=300, load=1.3)
    assert offered_load(load, load.arrivals(CONFIG, 1), CONFIG) == pytest.approx(1.3, rel=0.1)


def test_a_greedy_tenant_offers_ten_times_its_share() -> None:
    load = LoadSettings(seconds=200, load=0.9, greedy=True)
    arrivals = load.arrivals(CONFIG, 1)
    greedy = [arrival for arrival in arrivals if arrival.tenant == GREEDY]
    assert offered_load(load, greedy, CONFIG) == pytest.approx(10 / 3, rel=0.1)
    assert offered_load(load, [a for a in arrivals if a.tenant != GREEDY], CONFIG) == pytest.approx(0.6, rel=0.15)


def test_a_trace_is_played_at_the_speed_that_offers_the_load(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    rows = "\n".join(f"{second * 10},500,200" for second in range(400))
    trace.write_text(f"time,input_tokens,output_tokens\n{rows}\n")
    load = LoadSettings(engines=2, seconds=20, load=0.8, trace=trace)
    arrivals = load.arrivals(CONFIG, 1)
    assert offered_load(load, arrivals, CONFIG) == pytest.approx(0.8, rel=0.05)
    assert {(a.input_tokens, a.output_tokens) for a in arrivals} == {(500, 200)}
    assert load.describe()["trace"] == "trace.csv"
