"""The policy of CONTRIBUTING.md is listed, validated, configured and used."""

from __future__ import annotations

import os

import pytest
from fixtures.control_plane import Pool, engine, request

from sage_cli.effective_settings import effective_settings
from sage_common.config import load
from sage_common.errors import ConfigurationError
from sage_control_plane.policies.registry import check_policy, policy_names
from sage_scheduler.config import SchedulerSettings

NAME = "scheduler.shortest_first.tokens_per_second"


def order(tokens_per_second: float) -> list[str]:
    flags = ["--policy=shortest_first", f"--shortest_first.tokens_per_second={tokens_per_second}"]
    settings = load(SchedulerSettings, flags)
    pool = Pool(engine("e", concurrency=1), policy=settings.policy, settings=settings.control())
    pool.submit(request("running", 100.0))
    pool.submit(request("long", 100.0, tokens=900), request("short", 101.0, tokens=100))
    while pool.running:
        pool.finish(next(iter(pool.running)))
    return [dispatch.request_id for dispatch in pool.dispatches()]


assert "shortest_first" in policy_names()
assert check_policy("shortest_first") == "shortest_first"

shown = {f"{setting.section}.{setting.name}": setting for setting in effective_settings("scheduler")}
assert shown[NAME].value == 100.0
assert shown[NAME].description.startswith("tokens by which a request counts as shorter")

assert order(tokens_per_second=100) == ["running", "short", "long"]
assert order(tokens_per_second=1000) == ["running", "long", "short"]

os.environ["SAGE_SCHEDULER_SHORTEST_FIRST_TOKENS_PER_SECOND"] = "0"
with pytest.raises(ConfigurationError, match=r"'shortest_first\.tokens_per_second': Input should be greater than 0"):
    load(SchedulerSettings)
