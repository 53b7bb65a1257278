"""A conversation on a real terminal, with a server that goes on writing until its client is gone."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

MODELS = b'{"object":"list","data":[{"id":"small"},{"id":"large"},{"id":"vectors","kinds":["embedding"]}]}'
PIECE = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'


class EndlessServer(ThreadingHTTPServer):
    """Streams words to each chat for as long as somebody reads them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.abandoned = threading.Event()
        self.bodies: list[bytes] = []


class _Handler(BaseHTTPRequestHandler):
    server: EndlessServer

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(MODELS)))
        self.end_headers()
        self.wfile.write(MODELS)

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        pace = threading.Event()
        try:
            while not pace.wait(0.02):
                self.wfile.write(PIECE)
        except OSError:
            self.server.abandoned.set()

    def log_message(self, *_: object) -> None:
        pass


class Terminal:
    """`sage chat` on a terminal of its own."""

    def __init__(self, home: Path, url: str) -> None:
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("SAGE_", "XDG_"))}
        variables |= {f"XDG_{kind}_HOME": str(home / kind) for kind in ("CONFIG", "DATA", "STATE", "CACHE")}
        self.keyboard, terminal = pty.openpty()
        command = [sys.executable, "-m", "sage_cli", "chat", "--url", url]
        self.process = subprocess.Popen(
            command, env=variables | {"TERM": "dumb"}, stdin=terminal, stdout=terminal, stderr=terminal,
            start_new_session=True, preexec_fn=_control_terminal,
        )  # fmt: skip
        os.close(terminal)
        self.seen = ""
        self.read = 0

    def type(self, text: str) -> None:
        os.write(self.keyboard, text.encode())

    def until(self, text: str, seconds: float = 30.0) -> None:
        """Read until ``text`` appears after what was read before."""
        deadline = time.monotonic() + seconds
        while (found := self.seen.find(text, self.read)) < 0:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.keyboard], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.keyboard, 65536).decode()
                except OSError:
                    status = self.process.wait(10)
                    pytest.fail(f"`sage chat` has ended with {status} before {text!r}: {self.seen[-2000:]}")
        self.read = found + len(text)


def _control_terminal() -> None:
    import fcntl
    import termios

    # Where the tests run in the background, Ctrl-C is ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def server() -> Iterator[EndlessServer]:
    server = EndlessServer()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_ctrl_c_stops_the_answer_and_at_the_prompt_it_leaves(server: EndlessServer, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, f"http://127.0.0.1:{server.server_port}")
    try:
        terminal.until("> ")
        terminal.type("hello\n")
        terminal.until("word word")
        terminal.type("\x03")
        terminal.until("stopped")
        assert server.abandoned.wait(10)
        terminal.until("> ")
        terminal.type("/model large\n")
        terminal.until("from now on: large")
        terminal.type("/model vectors\n")
        terminal.until("no model 'vectors'; there are large, small")
        terminal.type("/help\n")
        terminal.until("/clear")
        terminal.until("> ")
        terminal.type("again\n")
        terminal.until("word word")
        terminal.type("\x03")
        terminal.until("stopped")
        # What was written before the stop is part of the conversation, until it is cleared.
        assert b"hello" in server.bodies[1]
        assert b'"model":"large"' in server.bodies[1]
        terminal.until("> ")
        terminal.type("/clear\n")
        terminal.until("forgotten")
        terminal.until("> ")
        # Between its prompt and its wait for a key readline keeps a signal until the next one.
        for _ in range(10):
            terminal.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                terminal.process.wait(1)
                break
        assert terminal.process.returncode == 0
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.keyboard)
    assert "Traceback" not in terminal.seen
