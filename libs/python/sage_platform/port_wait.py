"""Ports that a connection happens to hold, and the wait for its end.

The system gives outgoing connections local ports of a range (Linux: 32768 to 60999) in which the gRPC ports lie too.
While such a connection lives, and for a minute after its end (TIME_WAIT), nothing can listen on its port. Nobody has
to be stopped for that: it passes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import psutil

from sage_common.errors import UnavailableError
from sage_common.ports import port_is_free, port_taken

# TIME_WAIT lasts a minute on Linux.
WAIT_SECONDS = 65.0
POLL_SECONDS = 0.25


def connection_on(port: int) -> str | None:
    """Return which connection has ``port`` as its local one.

    None where none does, where something listens there, and where this user may not see it.
    """
    try:
        held = [one for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == port]
    except psutil.AccessDenied:
        return None
    if not held or any(one.status == psutil.CONN_LISTEN for one in held):
        return None
    # Connections to several peers may share a port; those that have ended are the least news.
    connection = min(held, key=lambda one: one.status == psutil.CONN_TIME_WAIT)
    peer = f"to {connection.raddr.ip}:{connection.raddr.port}" if connection.raddr else "that is being opened"
    if connection.status == psutil.CONN_TIME_WAIT:
        return f"a connection {peer} that has ended, which the system keeps for a minute"
    return f"a connection{_owner(connection.pid)} {peer}"


async def wait_for_port(
    host: str,
    port: int,
    setting: str,
    *,
    tell: Callable[[str], None],
    wait_seconds: float = WAIT_SECONDS,
) -> None:
    """Return once nothing holds ``port``; wait while it is only a connection.

    Args:
        setting: name of the setting that chooses another port.
        tell: called once with what is waited for.

    Raises:
        ConfigurationError: something listens there.
        UnavailableError: the connection has not ended within ``wait_seconds``.
    """
    deadline = time.monotonic() + wait_seconds
    told = False
    while not port_is_free(port, host):
        holder = connection_on(port)
        if holder is None:
            if port_is_free(port, host):
                return
            raise port_taken(port, host, setting)
        if not told:
            told = True
            tell(f"port {port} is held by {holder}; waiting for its end, {wait_seconds:g} s at most")
        if time.monotonic() >= deadline:
            raise UnavailableError(
                f"port {port} on {host} was held for {wait_seconds:g} s by {holder}; end that program, or choose "
                f"another port with {setting}. On Linux `sysctl -w net.ipv4.ip_local_reserved_ports={port}` keeps "
                "such connections away from it",
                code="port_in_use",
            )
        await asyncio.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))


def _owner(pid: int | None) -> str:
    """Return whose it is, as far as this user may see."""
    try:
        return f" of {psutil.Process(pid).name()} (pid {pid})" if pid else ""
    except psutil.Error:
        return f" of pid {pid}"
