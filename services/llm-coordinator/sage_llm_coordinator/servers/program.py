"""How the server of one engine is run: what a kind of engine that starts servers has to say about them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sage_control_plane.request.request import RequestKind


@dataclass(frozen=True, slots=True)
class OccupiedRoom:
    """What the servers of this machine occupy.

    Attributes:
        devices: GPUs, by index.
        starting_bytes: main memory that those which are still starting are expected to take.
    """

    devices: Collection[str] = ()
    starting_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ServerRoom:
    """What a server gets of the machine.

    Attributes:
        devices: GPUs, by index.
        environment: variables that put it there.
        arguments: of the engine, and those that put it there.
        memory_bytes: main memory that it is expected to take.
        seats: requests that it will compute at once; None where that is not known beforehand.
    """

    devices: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    memory_bytes: int = 0
    seats: int | None = None


class StartProgress(Protocol):
    """How far one start is, from what the server writes."""

    @property
    def text(self) -> str:
        """For people: "loading weights (42 %)"."""
        ...

    @property
    def kinds(self) -> frozenset[RequestKind]:
        """Work that the server says it does; empty until it says so."""
        ...

    def read(self, lines: Iterable[str]) -> None:
        """Take further lines of the log."""
        ...


class PlainProgress:
    """Of a server whose log says nothing of how far it is."""

    kinds: frozenset[RequestKind] = frozenset()

    def __init__(self, text: str) -> None:
        self.text = text

    def read(self, lines: Iterable[str]) -> None:
        """Pass over them."""


class ServerProgram(Protocol):
    """The program that serves one engine."""

    @property
    def title(self) -> str:
        """What people call it."""
        ...

    @property
    def port(self) -> int:
        """The HTTP port that was asked for; 0 for any."""
        ...

    async def room(self, occupied: OccupiedRoom) -> ServerRoom:
        """Find devices and memory.

        Raises:
            UnprocessableError: the machine has no room for it; the message has the figures and the way out.
            InvalidRequestError: the settings name a device or a number that is none.
        """
        ...

    def command(self, port: int, room: ServerRoom) -> list[str]:
        """Return the command line."""
        ...

    def environment(self, room: ServerRoom) -> dict[str, str]:
        """Return what is added to the coordinator's own environment."""
        ...

    def progress(self) -> StartProgress:
        """Return what reads the log of the next start."""
        ...

    def why_hopeless(self, log_tail: str) -> str | None:
        """Return why another start cannot end otherwise, from the last lines of the log; None where it may."""
        ...
