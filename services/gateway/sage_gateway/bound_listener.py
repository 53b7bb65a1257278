"""The socket that a gateway listens on: its own, or one that its supervisor holds and its successors share.

What waits in a shared socket to be accepted is not lost when one of those that share it closes it: the next accepts it.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence

from sage_common.errors import ConfigurationError
from sage_common.logging import get_logger
from sage_common.ports import port_taken

log = get_logger(__name__)


def bound_listener(host: str, port: int, setting: str, descriptors: Sequence[int] = ()) -> socket.socket:
    """Return a socket that is bound.

    Args:
        port: 0 takes a free one.
        setting: name of the setting to mention when the port is taken.
        descriptors: inherited sockets, one a family of addresses. The first gateway that uses one binds it; the others
            listen where that did, whatever ``host`` and ``port`` say by then.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = _inherited(family, descriptors)
    if listener is None:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if not _port_of(listener):
            listener.bind((host, port))
    except OSError as error:
        # Of several that share it, another may have bound it just now.
        if not (error.errno == errno.EINVAL and _port_of(listener)):
            listener.close()
            raise _not_bound(host, port, setting, error) from None
    if port not in (0, _port_of(listener)):
        log.warning(
            "the address was bound before it was changed; `sage down` and `sage up` take the new one",
            bound=_port_of(listener),
            wanted=port,
        )
    listener.setblocking(False)
    return listener


def _inherited(family: socket.AddressFamily, descriptors: Sequence[int]) -> socket.socket | None:
    found = None
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            inherited = socket.socket(fileno=descriptor)
            if found is None and inherited.family == family:
                found = inherited
            else:
                inherited.close()
    return found


def _port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def _not_bound(host: str, port: int, setting: str, error: OSError) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        return port_taken(port, host, setting)
    return ConfigurationError(
        f"cannot listen on {host}:{port} ({error.strerror or error}); choose another address or {setting}"
    )
