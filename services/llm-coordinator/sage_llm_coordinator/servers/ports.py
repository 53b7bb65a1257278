"""The ports of servers that this coordinator starts."""

from __future__ import annotations

from collections.abc import Collection

from sage_common.errors import UnprocessableError
from sage_common.ports import free_port, port_is_free

HOST = "127.0.0.1"


def choose_port(wanted: int, port_range: str, taken: Collection[int]) -> int:
    """Return the port for a server: ``wanted`` if given, otherwise a free one of ``first-last`` ("0-0": any).

    Args:
        taken: ports of servers that may not have bound theirs yet.

    Raises:
        UnprocessableError: it is in use, or the whole range is.
    """
    if wanted:
        if wanted in taken or not port_is_free(wanted, HOST):
            raise UnprocessableError(
                f"port {wanted} is in use; leave it out, and one of {port_range} is taken", code="port_in_use"
            )
        return wanted
    first, last = (int(part) for part in port_range.split("-"))
    if not last:
        return free_port(HOST)
    for port in range(first, last + 1):
        if port not in taken and port_is_free(port, HOST):
            return port
    raise UnprocessableError(
        f"every port of {port_range} is in use; widen SAGE_LLM_COORDINATOR_SERVERS_PORTS", code="port_in_use"
    )
