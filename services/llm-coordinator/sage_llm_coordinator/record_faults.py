"""Faults of one record, kept from the others that are reconciled in the same round."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from nats.errors import Error as NatsError

from sage_common.errors import SageError
from sage_common.logging import get_logger

log = get_logger(__name__)


class RecordFaults:
    """Logs each fault once, not in every round."""

    def __init__(self) -> None:
        self._logged: dict[str, str] = {}

    @contextmanager
    def apart(self, record: str) -> Iterator[None]:
        """Run the block for one record. Raises only nats' Error and asyncio.TimeoutError, which concern all of them."""
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
            self._logged.pop(record, None)

    def _is_news(self, record: str, fault: str) -> bool:
        known, self._logged[record] = self._logged.get(record), fault
        return known != fault
