"""Logs of a command: nothing is loaded for them until there is an error."""

from __future__ import annotations

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
