"""The adapters that an engine is to have, over restarts of its server. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter.

    Attributes:
        name: of the model that it makes.
        path: its folder on the server's machine.
    """

    name: str
    path: str


class WantedAdapters:
    """The adapters that operators had an engine load, in the order of their orders."""

    def __init__(self, adapters: Iterable[Adapter] = ()) -> None:
        self._adapters = {adapter.name: adapter for adapter in adapters}
        self._faults: dict[str, str] = {}

    @property
    def all(self) -> tuple[Adapter, ...]:
        """The adapters in order."""
        return tuple(self._adapters.values())

    @property
    def fault(self) -> str:
        """Which of them are not there and why, for people; empty when all are."""
        return "; ".join(f"without the adapter {name!r}: {reason}" for name, reason in self._faults.items())

    def loaded(self, adapter: Adapter) -> None:
        """Note that the server has it. One that is new, or comes from another path, goes to the end."""
        self._faults.pop(adapter.name, None)
        if self._adapters.get(adapter.name) != adapter:
            self.forget(adapter.name)
            self._adapters[adapter.name] = adapter

    def failed(self, name: str, reason: str) -> None:
        """Note that the server could not load it. It stays wanted: the next server may load it."""
        self._faults[name] = reason

    def forget(self, name: str) -> bool:
        """Want it no longer; return whether it was wanted."""
        self._faults.pop(name, None)
        return self._adapters.pop(name, None) is not None
