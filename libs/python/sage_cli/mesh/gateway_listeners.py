"""The sockets that gateways listen on, held by the supervisor: what waits in one is not lost when a gateway goes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from dataclasses import replace

from sage_platform.supervision.process_spec import ProcessSpec

DESCRIPTORS = "SAGE_GATEWAY_LISTENER_DESCRIPTORS"
GATEWAY = "gateway"


class GatewayListeners:
    """Sockets that are not bound yet: the first gateway that is given one binds it by its own settings."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def given(self, specs: Iterable[ProcessSpec], *, shared: bool) -> list[ProcessSpec]:
        """Return ``specs`` with sockets for each gateway, one a family of addresses.

        Args:
            shared: whether all of them listen on the same.
        """
        pair: tuple[int, ...] = ()
        made = []
        for spec in specs:
            if spec.service == GATEWAY:
                pair = pair if pair and shared else self._pair()
                environment = {**spec.environment, DESCRIPTORS: json.dumps(pair)}
                spec = replace(spec, descriptors=pair, environment=environment)
            made.append(spec)
        return made

    def close(self) -> None:
        """Close them; what waits in them is refused."""
        for held in self._sockets:
            held.close()
        self._sockets.clear()

    def _pair(self) -> tuple[int, ...]:
        made = []
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                held = socket.socket(family, socket.SOCK_STREAM)
            except OSError:
                continue  # a machine without this family
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._sockets.append(held)
            made.append(held.fileno())
        return tuple(made)
