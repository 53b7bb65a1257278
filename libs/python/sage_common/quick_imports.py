"""Imports of a process that starts, in two thirds of the time.

Most of what a service does until it is ready is importing, and some of that is for nothing: the garbage collector walks
again and again through modules that stay, which takes a tenth of the time, and libraries load others for what a service
never asks them.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Keep the garbage collector away while the context lasts, and then away from what is there.

    For the imports of a program before it does anything, and of a framework of thousands of modules.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def imports_without(name: str) -> Iterator[None]:
    """Let ``import name`` fail while the context lasts, for a library that can do without; a module that is loaded
    already stays."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
