"""A vLLM pod that is deleted waits for its requests: the script runs as its preStop does, against real HTTP."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest
from fixtures.rendered_overlays import KUBERNETES

SCRIPT = KUBERNETES / "components" / "vllm" / "drain.py"


@contextmanager
def metrics(*pages: str) -> Iterator[str]:
    """Serve one page after the other, the last one from then on."""
    left = list(pages)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (left.pop(0) if len(left) > 1 else left[0]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    thread.join(10)
    server.server_close()


def page(running: float, waiting: float = 0.0) -> str:
    return (
        "# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
        "# TYPE vllm:num_requests_running gauge\n"
        f'vllm:num_requests_running{{engine="0",model_name="m"}} {running}\n'
        f'vllm:num_requests_waiting{{engine="0",model_name="m"}} {waiting}\n'
        'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0\n'
    )


@pytest.fixture
def script() -> Any:
    spec = spec_from_file_location("drain", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Time:
    """Time that passes by sleeping."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


def test_it_waits_until_nothing_runs_or_waits(script: Any) -> None:
    time = Time()
    with metrics(page(2, 1), page(0, 1), page(1), page(0)) as url:
        assert script.drain(url, 600.0, time.sleep, time.now) == 0
    assert time.at == script.HEARD_SECONDS + 3 * script.POLL_SECONDS


def test_it_gives_up_after_its_time(script: Any) -> None:
    time = Time()
    with metrics(page(1)) as url:
        assert script.drain(url, 20.0, time.sleep, time.now) == 1
    assert 20.0 <= time.at <= 21.0


@pytest.mark.parametrize("text", ["", "nonsense", "vllm:num_requests_running many\n"])
def test_a_server_that_does_not_say_is_not_waited_for(script: Any, text: str) -> None:
    time = Time()
    with metrics(text) as url:
        assert script.drain(url, 600.0, time.sleep, time.now) is None
    assert time.at == script.HEARD_SECONDS


def test_a_server_that_is_gone_is_not_waited_for() -> None:
    command = [sys.executable, str(SCRIPT), "http://127.0.0.1:1/metrics", "0.1"]
    assert subprocess.run(command, timeout=30, check=False).returncode == 0
