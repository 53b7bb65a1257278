"""What a server's failure is to the mesh, and that its health is looked at when one says something about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timezone

from sage_common.errors import EngineFailedError, NotFoundError, SageError
from sage_mesh.upstream.http.answer import HttpAnswer
from sage_mesh.upstream.reported_failure import ReportedFailure
from sage_mesh.upstream.retry_after import retry_after_seconds
from sage_mesh.upstream.upstream import Upstream
from sage_mesh.upstream.upstream_errors import (
    MAX_ERROR_BYTES,
    failed_midway,
    model_lost,
    names_model,
    reported_error,
    upstream_error,
)


class UpstreamFailures:
    """Makes errors of one server's failures.

    Args:
        engine_id: for messages to people.
        on_trouble: called for a failure that says something about the server.
        lists: reads the server's list of models again and returns whether it has this one.
    """

    def __init__(
        self,
        engine_id: str,
        upstream: Upstream,
        on_trouble: Callable[[], None],
        lists: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._engine_id = engine_id
        self._upstream = upstream
        self._on_trouble = on_trouble
        self._lists = lists

    async def refused(self, response: HttpAnswer) -> SageError:
        """Return the error for an answer of another status than 200."""
        body = await response.read_up_to(MAX_ERROR_BYTES)
        seconds = retry_after_seconds(response.headers, datetime.now(timezone.utc))
        error = upstream_error(self._engine_id, response.status, body, seconds)
        if isinstance(error, EngineFailedError):
            self._on_trouble()
        return error

    async def without_model(self, error: NotFoundError, model: str) -> NotFoundError:
        """Return the error for a 404: retryable where the server has lost the model that it was asked for."""
        listed = await self._lists(model)
        return error if listed and not names_model(error.upstream_body, model) else model_lost(error)

    def reported(self, failure: ReportedFailure) -> SageError:
        """Return the error for what a server reports in place of an answer."""
        error = reported_error(self._engine_id, failure)
        if isinstance(error, EngineFailedError):
            self._on_trouble()
        return error

    def midway(self, failure: ReportedFailure) -> EngineFailedError:
        """Return the error for what a server reports within a stream that has begun."""
        self._on_trouble()
        return failed_midway(self._engine_id, failure)

    def broken(self, what: str) -> EngineFailedError:
        """Return the error for a server that does not do what the API says; ``what`` it did goes into the message."""
        self._on_trouble()
        return EngineFailedError(f"engine {self._engine_id!r} at {self._upstream.root} {what}", retryable=True)
