"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any

# Before Python 3.12 asyncio.wait_for swallows a cancellation that meets the completion of what it waits for.
_CANCEL_AGAIN_SECONDS = 0.2


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel ``tasks`` until all of them have ended, however they end."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # so that it is not reported as never retrieved
