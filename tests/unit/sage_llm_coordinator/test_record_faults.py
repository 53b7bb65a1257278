"""One record's fault is logged once and kept from the others."""

from __future__ import annotations

import pytest
from nats.errors import NoServersError
from structlog.testing import capture_logs

from sage_common.errors import ConfigurationError
from sage_llm_coordinator.record_faults import RecordFaults


def test_a_fault_is_logged_when_it_is_new_and_again_when_it_comes_back() -> None:
    faults = RecordFaults()
    logged = []
    for fault in ("no such kind", "no such kind", "no model", None, "no model"):
        with capture_logs() as logs, faults.apart("a"):
            if fault is not None:
                raise ConfigurationError(fault)
        logged.append([line["error"] for line in logs])
    assert logged == [["no such kind"], [], ["no model"], [], ["no model"]]


def test_a_mistake_is_logged_with_its_trace() -> None:
    with capture_logs() as logs, RecordFaults().apart("a"):
        raise RuntimeError("a mistake")
    assert [(line["record"], line["exc_info"]) for line in logs] == [("a", True)]


def test_nats_that_is_away_concerns_every_record() -> None:
    with pytest.raises(NoServersError), RecordFaults().apart("a"):
        raise NoServersError
