"""Modules that are loaded when something of them is first used, for a process that may never use them.

nats-py imports aiohttp for its WebSocket transport, which costs every process a tenth of a second of its start and
some megabytes, whether or not its URL begins with ``ws://``. ``importlib.util.LazyLoader`` does not help: up to Python
3.11 the very ``import`` of such a module loads it, since it asks for ``__spec__``.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any


class _LoadedOnUse(ModuleType):
    def __getattr__(self, name: str) -> Any:
        # Asked only for what is not there: of a module that is not loaded, that is everything but its place.
        spec = self.__spec__
        assert spec is not None
        assert spec.loader is not None
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec.loader.exec_module(self)
        return getattr(self, name)


def load_on_use(name: str) -> None:
    """Let ``import name`` load the module with the first access to an attribute of it.

    To be called before anything imports it; does nothing where it is loaded already, or not installed.
    """
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is not None:
        module = importlib.util.module_from_spec(spec)
        module.__class__ = _LoadedOnUse
        sys.modules[name] = module
