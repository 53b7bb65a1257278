"""Work in a child process: its imports and memory end with it, and a crash does not reach the parent.

A child reads its request as one line of JSON, and answers with one line. It ends when its parent ends, even by a kill:
the child's standard input closes then.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

import orjson

from sage_common.errors import ConfigurationError, InternalError, SageError, UnavailableError

# OpenVINO's converter and its quantiser send telemetry from a forked process that may never end; this variable turns it
# off in both.
NO_TELEMETRY = {"CI": "true"}
# How much of a child's output goes into an error message.
_TAIL_CHARACTERS = 400


class ChildRunner:
    """Runs children one at a time, until it is stopped. Thread-safe."""

    def __init__(self) -> None:
        self._run_lock = threading.Lock()
        self._state_lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self, module: str, request: Mapping[str, Any], timeout_seconds: float) -> dict[str, Any]:
        """Run ``python -m module`` and return its answer. Blocks.

        Raises:
            ConfigurationError: the child raised a SageError; it has the same message and code.
            InternalError: the child crashed or took longer than ``timeout_seconds``.
            UnavailableError: ``stop`` was called.
        """
        with self._run_lock, tempfile.TemporaryFile() as notes:
            process = self._start(module, notes)
            try:
                output = self._communicate(process, orjson.dumps(request) + b"\n", timeout_seconds)
            except subprocess.TimeoutExpired:
                raise InternalError(f"{module} did not finish within {timeout_seconds:g} s") from None
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()
                for stream in (process.stdin, process.stdout):
                    if stream:
                        stream.close()
            if self._stopped:
                raise _stopped_error()
            if not output:
                notes.seek(0)
                tail = notes.read().decode(errors="replace").strip()[-_TAIL_CHARACTERS:]
                raise InternalError(f"{module} ended with {process.returncode}: {tail or 'it wrote nothing'}")
        answer: dict[str, Any] = orjson.loads(output)
        if "error" in answer:
            raise ConfigurationError(answer["error"], code=answer["code"])
        return answer

    def raise_if_stopped(self) -> None:
        """Raise UnavailableError after ``stop``."""
        with self._state_lock:
            if self._stopped:
                raise _stopped_error()

    def stop(self) -> None:
        """Kill the running child and start no other."""
        with self._state_lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def _start(self, module: str, notes: IO[bytes]) -> subprocess.Popen[bytes]:
        with self._state_lock:
            if self._stopped:
                raise _stopped_error()
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=notes,
                env={**os.environ, **NO_TELEMETRY},
            )
            return self._process

    def _communicate(self, process: subprocess.Popen[bytes], request: bytes, timeout_seconds: float) -> bytes:
        # Popen.communicate would close the child's standard input, by which it sees that its parent is alive.
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(timeout_seconds, process.kill)
        timer.start()
        try:
            process.stdin.write(request)
            process.stdin.flush()
            output = process.stdout.readline()
        except BrokenPipeError:
            output = b""
        expired = not timer.is_alive()
        timer.cancel()
        if expired:
            raise subprocess.TimeoutExpired(process.args, timeout_seconds)
        if output:
            process.stdin.close()
        process.wait()
        return output


def run_child(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read the request, do ``work``, write the answer and exit: the child's side, called from its ``main``."""
    # The answer goes through a copy of standard output; what libraries print there goes to standard error.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    request = orjson.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        answer = work(request)
    except SageError as error:
        answer = {"error": error.message, "code": error.code}
    answers.write(orjson.dumps(answer) + b"\n")
    answers.flush()
    # The teardown of frameworks is slow, and may crash.
    os._exit(0)


def _exit_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _stopped_error() -> UnavailableError:
    return UnavailableError("the embedding engine was stopped while it loaded its model", code="engine_not_ready")
