"""The scorer of CONTRIBUTING.md is listed, validated, configured and used."""

from __future__ import annotations

import pytest
from fixtures.control_plane import Pool, engine, request

from sage_cli.effective_settings import effective_settings
from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_scheduler.config import SchedulerSettings

OTHERS = ("least_work", "soonest", "headroom", "prefix", "session")


def chosen(*flags: str) -> str:
    pool = Pool(engine("a"), engine("b"), settings=load(SchedulerSettings, list(flags)).control())
    pool.submit(request("one", tokens=10), request("two", tokens=1000))
    first, second = pool.dispatches()
    assert first.engine_id != second.engine_id
    # The engine of "two" has far more tokens to do, and then fewer requests.
    pool.submit(request("three", tokens=10), request("four", tokens=10))
    return "".join(sorted(dispatch.engine_id for dispatch in pool.dispatches()))


shown = {setting.name: setting for setting in effective_settings("scheduler")}
assert shown["scorers.fewest_requests"].value == 0.0
assert shown["scorers.fewest_requests"].description == "placement: the engine with the fewest requests"

assert chosen("--scorers.fewest_requests=0") != "aabb"
assert chosen("--scorers.fewest_requests=1", *(f"--scorers.{name}=0" for name in OTHERS)) == "aabb"

with pytest.raises(ConfigurationError, match=r"'scorers\.fewest_requests': Input should be greater than or equal to 0"):
    load(SchedulerSettings, ["--scorers.fewest_requests=-1"])
