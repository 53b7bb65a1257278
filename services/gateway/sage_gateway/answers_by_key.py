"""The answers that holders of issued keys are getting now, so that a key's end ends them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sage_common.errors import UnauthenticatedError
from sage_mesh.reply import Reply


class AnswersByKey:
    """Replies that are open, by the id of their key."""

    def __init__(self) -> None:
        self._open: dict[str, set[Reply]] = {}

    @contextmanager
    def holding(self, key_id: str, reply: Reply) -> Iterator[None]:
        """Count a reply while it is being answered; without effect for an empty ``key_id``."""
        if not key_id:
            yield
            return
        replies = self._open.setdefault(key_id, set())
        replies.add(reply)
        try:
            yield
        finally:
            replies.discard(reply)
            if not replies and self._open.get(key_id) is replies:
                del self._open[key_id]

    def end(self, key_id: str) -> None:
        """Stop everything that the holder of a key is getting."""
        error = UnauthenticatedError("the API key was revoked while its answer was written", code="key_revoked")
        for reply in tuple(self._open.get(key_id, ())):
            reply.stop(error)
