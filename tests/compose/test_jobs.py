"""A job published as a raw message of NATS runs in the containers, and its results arrive while it does."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from fixtures import raw_job
from fixtures.compose_stack import ComposeStack

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1800)]


def ask(stack: ComposeStack, method: str, path: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{stack.url}/v1/management/jobs/{path}", method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


def test_results_of_a_raw_message_arrive_while_its_job_runs(stack: ComposeStack) -> None:
    # NATS has no port outside: the program runs beside a service, in a container that reaches it.
    (worker, *_) = stack.containers("dataflow-worker")
    program = Path(raw_job.__file__).read_text()
    printed = stack.docker("exec", worker.id, "python", "-c", program)
    # asyncio remarks on stderr that a connection over TLS has ended.
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert [line["records"] for line in lines] == [[{"n": n, "square": n * n}] for n in range(2, 2 + len(lines))]
    assert len(lines) == raw_job.RECORDS
    assert {line["state"] for line in lines} == {"RUNNING"}
    job_id = lines[0]["job"]
    assert ask(stack, "GET", job_id)["state"] == "running"
    ask(stack, "POST", f"{job_id}/cancel")
    stack.wait_for("cancelled", lambda: ask(stack, "GET", job_id)["state"] == "cancelled")
