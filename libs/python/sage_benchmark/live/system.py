"""What is put under load: the mesh with one of its policies, or a peer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class SystemUnderLoad(Protocol):
    """Something in front of the engines that answers OpenAI requests."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def url(self) -> str:
        """Base URL without ``/v1``."""
        ...

    def prepare(self) -> None:
        """Make it ready for a run: every engine known and healthy. Raises SageError where that cannot be had."""
        ...

    def cpu_seconds(self) -> Mapping[str, float]:
        """CPU time that each of its processes has used so far."""
        ...
