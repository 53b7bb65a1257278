"""A kubelet asks over plain HTTP, on the port of the metrics."""

from __future__ import annotations

import asyncio
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from sage_platform.metrics_server import serve_metrics
from sage_platform.probe_pages import ProbePages


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs in a thread of its own, as a service's does beside the metrics."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.mark.parametrize("shared", [False, True])
def test_a_process_that_takes_work_lives_and_is_ready(loop: asyncio.AbstractEventLoop, shared: bool) -> None:
    port = serve_metrics("127.0.0.1", 0, shared=shared, probes=ProbePages(loop, lambda: None))
    assert ask(port, "/livez") == (200, "ok\n")
    assert ask(port, "/readyz") == (200, "ok\n")
    assert "python_info" in ask(port, "/metrics")[1]


def test_one_that_takes_none_says_why_and_lives(loop: asyncio.AbstractEventLoop) -> None:
    port = serve_metrics("127.0.0.1", 0, probes=ProbePages(loop, lambda: "lease: NATS is away"))
    assert ask(port, "/readyz") == (503, "lease: NATS is away\n")
    assert ask(port, "/livez")[0] == 200


def test_one_whose_loop_is_stuck_does_not_live(loop: asyncio.AbstractEventLoop) -> None:
    port = serve_metrics("127.0.0.1", 0, probes=ProbePages(loop, lambda: None, turn_seconds=0.05))
    go_on = threading.Event()
    loop.call_soon_threadsafe(go_on.wait)
    assert ask(port, "/livez") == (503, "the event loop has not come round for 0.05 s\n")
    go_on.set()


def test_one_whose_loop_has_ended_does_not_live() -> None:
    ended = asyncio.new_event_loop()
    ended.close()
    port = serve_metrics("127.0.0.1", 0, probes=ProbePages(ended, lambda: None))
    assert ask(port, "/livez") == (503, "the event loop has ended\n")
