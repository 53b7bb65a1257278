"""Settings name what exists, or say what does."""

from __future__ import annotations

import pytest

from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_common.setting_table import setting_table
from sage_control_plane.policies.bands import Band
from sage_control_plane.request.request import ServiceClass
from sage_control_plane.settings import ControlSettings
from sage_scheduler.config import SchedulerSettings

FORMER_NAMES = {
    "ageing_seconds": "priority.ageing_seconds",
    "least_work_weight": "scorers.least_work",
    "soonest_weight": "scorers.soonest",
    "headroom_weight": "scorers.headroom",
    "prefix_weight": "scorers.prefix",
    "starvation_seconds": "hybrid.starvation_seconds",
    "tenant_weights": "hybrid.weights",
    "max_queued": "admission.max_queued",
    "max_queued_bytes": "admission.max_queued_bytes",
    "class_max_queued": "admission.class_max_queued",
    "consecutive_failures": "breaker.consecutive_failures",
    "base_ejection_seconds": "breaker.base_ejection_seconds",
    "max_ejection_seconds": "breaker.max_ejection_seconds",
    "max_ejection_percent": "breaker.max_ejection_percent",
    "max_cooling_seconds": "breaker.max_cooling_seconds",
    "hedge_ratio": "hedging.ratio",
    "hedge_factor": "hedging.factor",
    "hedge_least_seconds": "hedging.least_seconds",
    "max_tries": "retries.max_tries",
    "retry_ratio": "retries.ratio",
    "retry_floor_per_second": "retries.floor_per_second",
    "absence_seconds": "retries.absence_seconds",
    **{name: name for name in ("policy", "picker", "headroom", "prompt_seconds", "explained")},
    **{name: name for name in ("forget_drained_seconds", "submit_timeout_seconds")},
}


def test_settings_reach_the_control_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_SCHEDULER_MAX_QUEUED", "7")
    monkeypatch.setenv("SAGE_SCHEDULER_CLASS_MAX_QUEUED", '{"bulk": 3}')
    control = load(SchedulerSettings, ["--picker", "argmin", "--headroom", "0.5"]).control()
    assert control.admission.max_queued == 7
    assert control.admission.most_requests()[ServiceClass.BULK] == 3
    assert (control.picker, control.headroom) == ("argmin", 0.5)


def test_a_knob_of_the_control_plane_is_a_setting_under_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_SCHEDULER_HYBRID_MARGIN", "0.2")
    monkeypatch.setenv("SAGE_SCHEDULER_PREDICTION_LEAST_SAMPLES", "5")
    control = load(SchedulerSettings, ["--hybrid.lead-seconds", "2", "--breaker.consecutive-failures=7"]).control()
    assert (control.policies.hybrid.margin, control.policies.hybrid.lead_seconds) == (0.2, 2.0)
    assert control.prediction.least_samples == 5
    assert control.breaker.consecutive_failures == 7


def test_the_defaults_are_the_control_planes() -> None:
    assert SchedulerSettings().control() == ControlSettings()


def test_the_prices_of_a_seat_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_SCHEDULER_RESERVATION_LATE_PER_REQUEST", "0.25")
    control = load(SchedulerSettings, ["--reservation.late-per-bulk-request", "0.1"]).control()
    assert set(control.reservation.prices[: Band.BULK]) == {0.25}
    assert control.reservation.prices[Band.BULK :] == (0.1,)


@pytest.mark.parametrize("name", ["holdback_most", "holdback_least", "holdback_memory_seconds"])
def test_a_share_that_is_held_back_is_no_setting_any_more(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"SAGE_SCHEDULER_{name.upper()}", "0.5")
    with pytest.raises(ConfigurationError, match=f"no setting '{name}'"):
        load(SchedulerSettings, [])


def test_every_name_from_before_the_groups_is_still_a_setting() -> None:
    table = setting_table(SchedulerSettings)
    renamed = {name: setting.name for name in FORMER_NAMES if (setting := table.setting(name)) is not None}
    assert renamed == FORMER_NAMES


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("HYBRID_MARGIN", "3", "setting 'hybrid.margin': Input should be less than 1 .got '3'."),
        ("STARVATION_SECONDS", "0", "setting 'hybrid.starvation_seconds': Input should be greater than 0 .got '0'."),
        (
            "HYBRID_LATE_MULTIPLE",
            "0.5",
            "'hybrid.late_multiple': Input should be greater than or equal to 1 .got '0.5'.",
        ),
        (
            "RESERVATION_LATE_PER_REQUEST",
            "0",
            "'reservation.late_per_request': Input should be greater than 0 .got '0'.",
        ),
        ("HEADROOM", "-1", "setting 'headroom': Input should be greater than or equal to 0 .got '-1'."),
        ("TENANT_WEIGHTS", '{"a": 0}', "setting 'hybrid': the weight of tenant 'a' is 0.0; it must be above 0"),
        ("HEDGE_RATIO", "2", "setting 'hedging.ratio': Input should be less than or equal to 1 .got '2'."),
        ("SCORERS_PREFIX", "-1", "setting 'scorers.prefix': Input should be greater than or equal to 0 .got '-1'."),
        ("CLASS_MAX_QUEUED", '{"chat": 1}', "no class is called 'chat'; known: interactive"),
    ],
)
def test_a_figure_out_of_range_is_refused(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SAGE_SCHEDULER_{variable}", value)
    with pytest.raises(ConfigurationError, match=message):
        load(SchedulerSettings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "fifi"}, "did you mean 'fifo'"),
        ({"picker": "best"}, "known: adaptive"),
    ],
)
def test_names_that_do_not_exist_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SchedulerSettings(**settings).control()  # type: ignore[arg-type]
