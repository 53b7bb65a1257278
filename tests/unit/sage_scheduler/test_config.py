"""Settings name what exists, or say what does."""

from __future__ import annotations

import pytest

from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_control_plane.request.request import ServiceClass
from sage_scheduler.config import SchedulerSettings


def test_settings_reach_the_control_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_SCHEDULER_MAX_QUEUED", "7")
    monkeypatch.setenv("SAGE_SCHEDULER_CLASS_MAX_QUEUED", '{"bulk": 3}')
    control = load(SchedulerSettings, ["--picker", "argmin", "--headroom", "0.5"]).control()
    assert control.admission.default.requests == 7
    assert control.admission.limits[ServiceClass.BULK].requests == 3
    assert (control.picker, control.headroom) == ("argmin", 0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "fifi"}, "did you mean 'fifo'"),
        ({"picker": "best"}, "known: adaptive"),
        ({"class_max_queued": {"chat": 1}}, "known: interactive"),
    ],
)
def test_names_that_do_not_exist_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SchedulerSettings(**settings).control()  # type: ignore[arg-type]
