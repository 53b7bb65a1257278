"""What every start of a process costs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# A service that reads its settings and ends there, and then says what it has loaded.
CODE = """
import runpy, sys
sys.argv = ["service"]
try:
    runpy.run_module("{package}", run_name="__main__")
except SystemExit as end:
    print(end.code, *sys.modules)
"""


@pytest.mark.parametrize("package", ["sage_gateway", "sage_dataflow_worker"])
def test_a_service_starts_without_what_it_never_uses(package: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CODE.format(package=package)],
        env={**os.environ, "SAGE_NATS_NO_SUCH_SETTING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    exit_code, *loaded = ended.stdout.split()
    assert (exit_code, "sage_common.logging" in loaded) == ("78", True), ended.stderr
    assert not {"aiohttp.client", "rich.console", "pygments", "attr"} & {*loaded}


# Everything that a service's process imports before its settings ask for traces.
MAINS = """
import sys
import sage_gateway.main, sage_classifier.main, sage_scheduler.main
import sage_embed_executor.main, sage_llm_coordinator.main, sage_dataflow_worker.main
print(*sys.modules)
"""


def test_nothing_of_opentelemetry_is_loaded_while_nothing_is_traced() -> None:
    loaded = subprocess.run([sys.executable, "-c", MAINS], capture_output=True, text=True, timeout=100, check=True)
    assert not [name for name in loaded.stdout.split() if name.partition(".")[0] == "opentelemetry"]
