"""Logs: nothing is loaded for those of a command until there is an error; a service's name the trace they belong to."""

from __future__ import annotations

import json
import subprocess
import sys

QUIET = """
import logging, sys
from sage_common.logging import get_logger, log_errors_only
log_errors_only(service="cli")
log = get_logger("here")
log.info("nobody sees this")
log.warning("nor this", reason="x")
logging.getLogger("asyncio").warning("nor that")
print("structlog" in sys.modules, "pydantic" in sys.modules)
"""


def said(code: str) -> tuple[str, str]:
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return answer.stdout.strip(), answer.stderr


def test_what_is_below_an_error_is_left_out_and_loads_nothing() -> None:
    assert said(QUIET) == ("False False", "")


def test_the_first_error_is_written_whoever_logs_it_and_the_second_too() -> None:
    _, ours = said(QUIET + "log.error('it broke', port=7); log.info('still hidden'); log.error('again')")
    assert "it broke" in ours
    assert "port" in ours
    assert "again" in ours
    assert "hidden" not in ours
    _, theirs = said(QUIET + "logging.getLogger('asyncio').error('%s was never awaited', 'it'); log.error('ours')")
    assert theirs.count("it was never awaited") == 1
    assert theirs.count("ours") == 1


TRACED = """
import logging
from sage_common.logging import configure_logging, get_logger
from sage_common.service_settings import LogSettings
from sage_common.trace_context import tracing_as
configure_logging(LogSettings(format="json"), service="gateway", instance="gateway-1")
log = get_logger("here")
with tracing_as("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
    log.info("ours", request_id="req-1", correlation_id=None)
    logging.getLogger("theirs").warning("a library's")
    log.info("of another", trace_id="given")
log.info("of none")
"""


def test_lines_name_the_trace_that_they_belong_to_whoever_writes_them() -> None:
    ours, theirs, another, none = (json.loads(line) for line in said(TRACED)[1].splitlines())
    ids = {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"}
    for line in (ours, theirs):
        assert ids.items() <= line.items()
    assert (ours["request_id"], ours["service"]) == ("req-1", "gateway")
    assert another["trace_id"] == "given"
    assert "span_id" not in another
    assert "trace_id" not in none
