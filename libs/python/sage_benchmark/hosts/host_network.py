"""Hosts on one machine: a network namespace and a host name each, and a network between them that can be spoilt.

Needs root, Linux, `ip` of iproute2, and /dev/net/tun. What a run that was killed has left is removed by the next.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

from sage_common.errors import UnavailableError
from sage_platform.supervision import bound_to_parent

TUN = Path("/dev/net/tun")
NAMESPACES = Path("/run/netns")
# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
SUBNET = "10.77.0"
DEVICE = "eth0"
MTU = 1500
ENDED_SECONDS = 10.0
_NAME = re.compile(r"sage(\d+)h\d+")


def why_impossible() -> str:
    """Return why there can be no such hosts here; empty where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "network namespaces need `ip` of the package iproute2, and `unshare` of util-linux"
    if not TUN.exists():
        return f"the network between the hosts needs {TUN}, which this kernel or container has not"
    try:
        _run("ip", "netns", "list")
        probe = f"sage{os.getpid()}h0"
        _run("ip", "netns", "add", probe)
        _run("ip", "netns", "del", probe)
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made here: {error.stderr.strip()}"
    return ""


class HostNetwork:
    """Hosts 1 to ``count``, each with all links whole until they are set otherwise. ``close`` removes them.

    Args:
        seed: of what is lost.

    Raises:
        UnavailableError: they cannot be made here.
    """

    def __init__(self, count: int = 3, seed: int = 1) -> None:
        reason = why_impossible()
        if reason:
            raise UnavailableError(reason, code="no_namespaces")
        remove_stale()
        self.hosts = range(1, count + 1)
        self._descriptors: list[int] = []
        self._switch: subprocess.Popen[bytes] | None = None
        try:
            for host in self.hosts:
                self._descriptors.append(self._make(host))
            command = [sys.executable, "-m", "sage_benchmark.hosts.packet_switch", str(seed)]
            self._switch = subprocess.Popen(
                bound_to_parent.command([*command, *map(str, self._descriptors)]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=self._descriptors,
            )
        except BaseException:
            self.close()
            raise
        finally:
            for descriptor in self._descriptors:
                os.close(descriptor)

    def namespace(self, host: int) -> str:
        """Return the name of a host's namespace, which holds this process's pid."""
        return f"sage{os.getpid()}h{host}"

    def address(self, host: int) -> str:
        """Return the address that the others reach a host at."""
        return f"{SUBNET}.{host}"

    def command(self, host: int, argv: Sequence[str]) -> list[str]:
        """Return the command that runs ``argv`` on a host, with a host name of its own; the pid stays the same."""
        renamed = 'echo "$0" > /proc/sys/kernel/hostname && exec "$@"'
        within = ["ip", "netns", "exec", self.namespace(host), "unshare", "--uts"]
        return [*within, "sh", "-c", renamed, f"host{host}", *argv]

    @contextmanager
    def inside(self, host: int) -> Iterator[None]:
        """Have this thread open its connections on a host while the context lasts; they stay there after it."""
        with open("/proc/thread-self/ns/net") as own, open(NAMESPACES / self.namespace(host)) as theirs:
            _set_namespace(theirs.fileno())
            try:
                yield
            finally:
                _set_namespace(own.fileno())

    def spoil(self, *, delay_ms: float, loss: float) -> None:
        """Delay every packet between hosts, each way, and lose a share of them."""
        self._order(list(combinations(self.hosts, 2)), delay_seconds=delay_ms / 1e3, loss=loss)

    def cut(self, *pairs: tuple[int, int]) -> None:
        """Let nothing pass between two hosts any more: neither learns of it but by silence."""
        self._order(pairs, cut=True)

    def mend(self, *pairs: tuple[int, int]) -> None:
        """Let packets pass again; between all hosts where none are named."""
        self._order(pairs or list(combinations(self.hosts, 2)), cut=False)

    def isolate(self, host: int) -> None:
        """Cut all links of a host."""
        self.cut(*((host, other) for other in self.hosts if other != host))

    def processes(self, host: int) -> list[int]:
        """Return the pids of what runs on a host."""
        found = _run("ip", "netns", "pids", self.namespace(host), check=False)
        return [int(pid) for pid in found.split()]

    def power_off(self, host: int) -> None:
        """End a host as a power cut does: the network hears no farewell, and no process gets to do anything more."""
        self.isolate(host)
        kill_all(self.namespace(host))

    def close(self) -> None:
        """End all that runs on the hosts, and remove them."""
        for host in self.hosts:
            kill_all(self.namespace(host))
        if self._switch is not None:
            assert self._switch.stdin is not None
            assert self._switch.stdout is not None
            self._switch.stdin.close()
            self._switch.wait(ENDED_SECONDS)
            self._switch.stdout.close()
        for host in self.hosts:
            _run("ip", "netns", "del", self.namespace(host), check=False)

    def _make(self, host: int) -> int:
        """Make a host's namespace and its device; return the device's other end."""
        name, device = self.namespace(host), f"sg{os.getpid()}x{host}"
        _run("ip", "netns", "add", name)
        descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
        # The descriptor stays the device's wherever the device goes.
        _run("ip", "link", "set", device, "netns", name, "name", DEVICE)
        inside = ("ip", "-n", name)
        _run(*inside, "link", "set", "lo", "up")
        _run(*inside, "addr", "add", f"{self.address(host)}/24", "dev", DEVICE)
        _run(*inside, "link", "set", DEVICE, "mtu", str(MTU), "up")
        return descriptor

    def _order(self, pairs: Sequence[tuple[int, int]], **settings: object) -> None:
        assert self._switch is not None
        assert self._switch.stdin is not None
        assert self._switch.stdout is not None
        self._switch.stdin.write(json.dumps({"pairs": pairs, **settings}).encode() + b"\n")
        self._switch.stdin.flush()
        if self._switch.stdout.readline() != b"ok\n":
            raise UnavailableError(f"the network between the hosts has ended with {self._switch.poll()}")


@contextmanager
def host_network(count: int = 3, seed: int = 1) -> Iterator[HostNetwork]:
    """Run hosts while the context lasts. Raises UnavailableError where they cannot be made."""
    network = HostNetwork(count, seed)
    try:
        yield network
    finally:
        network.close()


def remove_stale() -> list[str]:
    """Remove the hosts of runs whose process is no more, with all that runs on them; return their names."""
    found = [path.name for path in NAMESPACES.iterdir()] if NAMESPACES.is_dir() else []
    stale = [name for name in found if (match := _NAME.fullmatch(name)) and not Path(f"/proc/{match[1]}").exists()]
    for name in stale:
        kill_all(name)
        _run("ip", "netns", "del", name, check=False)
    return stale


def kill_all(namespace: str) -> None:
    """Kill what runs in a namespace, until nothing does. Raises TimeoutError."""
    deadline = time.monotonic() + ENDED_SECONDS
    while pids := _run("ip", "netns", "pids", namespace, check=False).split():
        for pid in pids:
            # Those that have just ended are named for a moment more.
            _signal(int(pid), signal.SIGKILL)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {', '.join(pids)} of {namespace} do not end")
        time.sleep(0.01)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _run(*command: str, check: bool = True) -> str:
    return subprocess.run(command, check=check, capture_output=True, text=True).stdout
