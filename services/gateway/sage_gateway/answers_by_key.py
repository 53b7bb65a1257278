"""The answers that holders of issued keys and of tokens are getting now, so that a key's end ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, KeysView
from contextlib import contextmanager
from typing import Protocol

from sage_common.errors import SageError, UnauthenticatedError
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.reply import Reply

Submit = Callable[[InferenceRequest], Awaitable[Reply]]
# Takes what is to be called before each look for more, and raises where there is to be no more.
Follow = Callable[[Callable[[], None]], AsyncIterator[bytes]]

LOOK_SECONDS = 1.0


class Stoppable(Protocol):
    """What somebody is getting: a reply, or a stream."""

    def stop(self, error: SageError) -> None:
        """End it with an error."""
        ...


class _Following:
    """A stream that looks again and again for more."""

    def __init__(self) -> None:
        self._error: SageError | None = None

    def stop(self, error: SageError) -> None:
        self._error = error

    def check(self) -> None:
        if self._error is not None:
            raise self._error


class AnswersByKey:
    """Replies that are open, by the id of their key.

    Whether a key still holds is asked when an answer comes to it, and then again and again: between the look at a
    request's key and its answer lie its body and its wait, in which the key may have ended.

    Args:
        ended_because: why a key, or a subject's tokens, let nobody in any more; None while they do.
    """

    def __init__(self, ended_because: Callable[[str], UnauthenticatedError | None] = lambda key_id: None) -> None:
        self._ended_because = ended_because
        self._open: dict[str, set[Stoppable]] = {}
        self._held: set[asyncio.Task[None]] = set()

    def key_ids(self) -> KeysView[str]:
        """Return the ids of keys that have answers now."""
        return self._open.keys()

    @contextmanager
    def holding(self, key_id: str, reply: Stoppable) -> Iterator[None]:
        """Count a reply while it is being answered; without effect for an empty ``key_id``."""
        if not key_id:
            yield
            return
        if (error := self._ended_because(key_id)) is not None:
            reply.stop(error)
        replies = self._open.setdefault(key_id, set())
        replies.add(reply)
        try:
            yield
        finally:
            replies.discard(reply)
            if not replies and self._open.get(key_id) is replies:
                del self._open[key_id]

    async def followed(self, key_id: str, follow: Follow) -> AsyncIterator[bytes]:
        """Yield what ``follow`` does until the key ends; raises UnauthenticatedError then."""
        following = _Following()
        with self.holding(key_id, following):
            async for piece in follow(following.check):
                yield piece

    def held(self, submit: Submit) -> Submit:
        """Return ``submit`` with its replies counted until they have ended."""

        async def until_ended(key_id: str, reply: Reply) -> None:
            with self.holding(key_id, reply):
                await reply.until_ended()

        async def submitted(request: InferenceRequest) -> Reply:
            reply = await submit(request)
            if request.key_id:
                task = asyncio.create_task(until_ended(request.key_id, reply))
                self._held.add(task)
                task.add_done_callback(self._held.discard)
            return reply

        return submitted

    def end(self, key_id: str, error: UnauthenticatedError | None = None) -> None:
        """Stop everything that the holder of a key is getting; ``error`` says why where the key was not revoked."""
        if error is None:
            error = UnauthenticatedError("the API key was revoked while its answer was written", code="key_revoked")
        for reply in tuple(self._open.get(key_id, ())):
            reply.stop(error)

    def end_invalid(self) -> None:
        """Stop what the holders of keys are getting that have ended."""
        for key_id in tuple(self._open):
            if (error := self._ended_because(key_id)) is not None:
                self.end(key_id, error)

    async def watch(self) -> None:
        """Stop answers as their keys end, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.end_invalid()
