"""What callers are told where JetStream cannot be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from nats.errors import Error as NatsError

from sage_common.errors import UnavailableError, describe


@contextmanager
def reaching_jetstream() -> Iterator[None]:
    """Turn the absence of JetStream into an error for callers."""
    try:
        yield
    except (NatsError, asyncio.TimeoutError) as error:
        raise UnavailableError(
            f"JetStream does not answer ({describe(error)}); try again, and look at the NATS server",
            code="jetstream_unavailable",
            retryable=True,
        ) from None
