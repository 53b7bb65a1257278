"""A small program between a service and a server that it runs, so that the server outlives a killed service for long
enough to be adopted, and never for longer.

``python guardian.py SOCKET HOME ORPHAN_SECONDS COMMAND…`` runs the command in a session of its own and listens on a
Unix socket. A process that connects and says ``own`` owns the server for as long as the connection lasts; the kernel
closes it however the owner ends. A server without an owner for ORPHAN_SECONDS is ended, with its whole process group:
vLLM's worker processes run on when only their parent is killed.

One JSON object a line, both ways:

    → {"verb": "own", "epoch": 7, "force": false}   ← {"event": "owned", "server_pid": 42} or {"event": "refused", …}
    → {"verb": "look"}                              ← {"event": "state", "owned": true, "epoch": 7}
    → {"verb": "stop", "grace_seconds": 5.0}        ← {"event": "ended", "status": 143}

An owner of a higher epoch takes the place of one whose connection is gone, or with ``force`` of any (the older gets
``replaced``), so that an owner that was only suspended cannot act on a server that is another's. When the server ends,
the owner gets ``ended``, what is left of the group is ended, and the guardian ends too. SIGTERM ends the server.

HOME says to which mesh the server belongs; it is there to be seen, in the list of processes. This is a program, not a
``preexec_fn``: code between fork and exec in a process with threads can deadlock. Only the standard library, and
nothing of SAGE, so that it starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 5.0
ENDING_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
# In the environment of what runs under a guardian, so that it can be found if the guardian is killed.
SOCKET_MARK = "GUARDIAN_SOCKET"
HOME_MARK = "GUARDIAN_HOME"


class Connection:
    """A connected process."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self._unread = b""

    def read(self) -> list[dict[str, Any]] | None:
        """Return the messages that have arrived; None when the other side is gone or sends no JSON object."""
        try:
            data = self.channel.recv(4096)
            if not data:
                return None
            *lines, self._unread = (self._unread + data).split(b"\n")
            return [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return None

    def tell(self, **message: Any) -> None:
        """Send a message. That the other side is gone shows at the next read."""
        with contextlib.suppress(OSError):
            self.channel.sendall(json.dumps(message).encode() + b"\n")


class Guardian:
    """Holds one server and knows its owner."""

    def __init__(self, path: str, home: str, orphan_seconds: float) -> None:
        self._path = path
        self._home = home
        self._orphan_seconds = orphan_seconds
        self._listener = _listen(path)
        self._connections: dict[int, Connection] = {}
        self._owner: Connection | None = None
        self._epoch = -1
        self._unowned_since = time.monotonic()
        self._grace_seconds: float | None = None
        self._server_pid = 0
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def run(self, command: list[str]) -> int:
        """Run the command to its end; return its exit status (128 + n when signal n ended it)."""
        try:
            child = _start(command, {SOCKET_MARK: self._path, HOME_MARK: self._home})
        except OSError as error:
            sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
            return self._end(127)
        self._server_pid = child.pid
        while child.poll() is None and not self._must_end():
            self._serve_once()
        _end_group(child, GRACE_SECONDS if self._grace_seconds is None else self._grace_seconds)
        return self._end(child.returncode if child.returncode >= 0 else 128 - child.returncode)

    def _end(self, status: int) -> int:
        if self._owner is not None:
            self._owner.tell(event="ended", status=status)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        return status

    def _must_end(self) -> bool:
        if self._grace_seconds is not None:
            return True
        return self._owner is None and time.monotonic() - self._unowned_since > self._orphan_seconds

    def _serve_once(self) -> None:
        wait = None if self._owner else max(0.0, self._unowned_since + self._orphan_seconds - time.monotonic()) + 0.01
        watched = [self._listener.fileno(), self._woken, *self._connections]
        readable, _, _ = select.select(watched, [], [], wait)
        for ready in readable:
            if ready == self._listener.fileno():
                channel, _ = self._listener.accept()
                channel.settimeout(1.0)
                self._connections[channel.fileno()] = Connection(channel)
            elif ready == self._woken:
                if ENDING_SIGNALS & set(os.read(self._woken, 64)):
                    self._grace_seconds = GRACE_SECONDS
            else:
                self._listen_to(ready)

    def _listen_to(self, number: int) -> None:
        connection = self._connections[number]
        messages = connection.read()
        if messages is None:
            self._drop(number)
            return
        for message in messages:
            self._obey(connection, message)

    def _drop(self, number: int) -> None:
        connection = self._connections.pop(number)
        connection.channel.close()
        if connection is self._owner:
            self._owner = None
            self._unowned_since = time.monotonic()

    def _obey(self, connection: Connection, message: dict[str, Any]) -> None:
        verb = message.get("verb")
        if verb == "look":
            connection.tell(event="state", owned=self._owner is not None, epoch=self._epoch)
        elif verb == "own":
            self._own(connection, int(message["epoch"]), bool(message.get("force")))
        elif verb == "stop" and connection is self._owner:
            self._grace_seconds = float(message.get("grace_seconds", GRACE_SECONDS))
        else:
            connection.tell(event="refused", reason="only its owner may do that", epoch=self._epoch)

    def _own(self, connection: Connection, epoch: int, force: bool) -> None:
        if epoch <= self._epoch or (self._owner is not None and not force):
            connection.tell(event="refused", reason="it has an owner", epoch=self._epoch)
            return
        if self._owner is not None and self._owner is not connection:
            self._owner.tell(event="replaced", epoch=epoch)
        self._owner, self._epoch = connection, epoch
        connection.tell(event="owned", server_pid=self._server_pid)


def main() -> int:
    """Guard the command in ``sys.argv``."""
    path, home, orphan_seconds, *command = sys.argv[1:]
    return Guardian(path, home, float(orphan_seconds)).run(command)


def _listen(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o077)
    listener.bind(path)
    os.umask(before)
    listener.listen()
    return listener


def _start(command: list[str], marks: dict[str, str]) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is not None:
        # Grandchildren whose parent has died become children of the guardian, which can then wait for them.
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def die_with_guardian() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    # The guardian is one thread, so this preexec_fn is safe.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_guardian,
        env={**os.environ, **marks},
    )


def _end_group(child: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """Ask the group to end, then make it."""
    _signal_group(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline:
        _reap(child)
        if child.returncode is not None and not _signal_group(child.pid, 0):
            return
        time.sleep(0.02)
    _signal_group(child.pid, signal.SIGKILL)
    child.wait()


def _reap(child: subprocess.Popen[bytes]) -> None:
    child.poll()
    if child.returncode is None:
        return
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
