"""Running a command's asynchronous part."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end, with the libraries' own log lines left out below errors.

    Ctrl-C cancels it and raises KeyboardInterrupt.
    """
    quiet_logs()
    return asyncio.run(work)


def quiet_logs() -> None:
    """Leave the libraries' own log lines out below errors."""
    from sage_common.logging import log_errors_only

    log_errors_only(service="cli")
