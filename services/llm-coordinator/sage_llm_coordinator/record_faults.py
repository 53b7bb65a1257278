"""What goes wrong with one record, kept from the others that the same look has still to come to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from nats.errors import Error as NatsError

from sage_common.errors import SageError
from sage_common.logging import get_logger

log = get_logger(__name__)


class RecordFaults:
    """Tells each fault once, not at every look."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    @contextmanager
    def apart(self, record: str) -> Iterator[None]:
        """Run the block for one record; only what concerns all of them, NATS that is away, is raised."""
        try:
            yield
        except (NatsError, asyncio.TimeoutError):
            raise
        except SageError as error:
            if self._is_news(record, error.message):
                log.error("a record of an engine is left alone", record=record, error=error.message)
        except Exception as error:
            if self._is_news(record, repr(error)):
                log.exception("a record of an engine is left alone", record=record)
        else:
            self._told.pop(record, None)

    def _is_news(self, record: str, fault: str) -> bool:
        known, self._told[record] = self._told.get(record), fault
        return known != fault
