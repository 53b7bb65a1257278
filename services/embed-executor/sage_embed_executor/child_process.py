"""Work that needs a process of its own: what it imports and allocates goes with it, and its crash is not ours.

A child reads its request as one line of JSON, and answers with one line. It ends when its parent ends, however that
ends: the child's standard input closes then.
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

# OpenVINO's converter and its quantiser report their use to their makers, by a forked process that may never end; this
# is the variable by which both leave it.
NO_TELEMETRY = {"CI": "true"}
# Of what a child wrote, as much as goes into a message.
_TAIL_CHARACTERS = 400


class ChildRunner:
    """Runs children one at a time, until it is told to end."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._changing = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def run(self, module: str, request: Mapping[str, Any], timeout_seconds: float) -> dict[str, Any]:
        """Run ``python -m module`` and return its answer. Blocks.

        Raises:
            ConfigurationError: the child says that it cannot do it, and why.
            InternalError: it crashed or took longer than the time-out.
            UnavailableError: ``end`` was called.
        """
        with self._turn, tempfile.TemporaryFile() as notes:
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
            if self._ended:
                raise _stopped()
            if not output:
                notes.seek(0)
                tail = notes.read().decode(errors="replace").strip()[-_TAIL_CHARACTERS:]
                raise InternalError(f"{module} ended with {process.returncode}: {tail or 'it wrote nothing'}")
        answer: dict[str, Any] = orjson.loads(output)
        if "error" in answer:
            raise ConfigurationError(answer["error"], code=answer["code"])
        return answer

    def check(self) -> None:
        """Raise UnavailableError once it was told to end: what would come next is not wanted any more."""
        with self._changing:
            if self._ended:
                raise _stopped()

    def end(self) -> None:
        """Kill the child that runs and start no other."""
        with self._changing:
            self._ended = True
            if self._process is not None:
                self._process.kill()

    def _start(self, module: str, notes: IO[bytes]) -> subprocess.Popen[bytes]:
        with self._changing:
            if self._ended:
                raise _stopped()
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=notes,
                env={**os.environ, **NO_TELEMETRY},
            )
            return self._process

    def _communicate(self, process: subprocess.Popen[bytes], request: bytes, timeout_seconds: float) -> bytes:
        # Not Popen.communicate, which closes the child's standard input: that is how the child knows that we live.
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


def answer_parent(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The child's side: read the request, do the work, answer. Call it from the child's ``main``."""
    # Libraries write to standard output as they please; the answer goes through a copy that they do not know.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    request = orjson.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        answer = work(request)
    except SageError as error:
        answer = {"error": error.message, "code": error.code}
    answers.write(orjson.dumps(answer) + b"\n")
    answers.flush()
    # Frameworks take their time to tear down, and have been seen to crash in it.
    os._exit(0)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _stopped() -> UnavailableError:
    return UnavailableError("the embedding engine was stopped while it loaded its model", code="engine_not_ready")
