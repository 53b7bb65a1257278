"""What sources and sinks ask of JetStream's API, with errors that say what to do."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import nats.errors
from nats.aio.client import Client

from sage_common.errors import NotFoundError, UnavailableError, UnprocessableError, describe

_NOT_FOUND = 404
_ANSWER_SECONDS = 5.0


class StreamState(NamedTuple):
    """A stream as it is now.

    Attributes:
        name: of the stream.
        created: when it was made: one made again by the same name is another.
        first, last: the sequence numbers of its first and last message; ``first`` is ``last + 1`` where it is empty.
    """

    name: str
    created: str
    first: int
    last: int


async def ask(client: Client, verb: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the answer of JetStream's API.

    Raises:
        NotFoundError: there is no such stream or consumer.
        UnavailableError: nobody answers.
        UnprocessableError: it refuses.
    """
    try:
        message = await client.request(f"$JS.API.{verb}", json.dumps(request or {}).encode(), timeout=_ANSWER_SECONDS)
    except (nats.errors.Error, OSError) as error:
        raise UnavailableError(f"JetStream does not answer ({describe(error)})") from None
    answer: dict[str, Any] = json.loads(message.data)
    refusal = answer.get("error")
    if refusal:
        text = f"{refusal.get('description', 'no reason')} (JetStream's error {refusal.get('err_code', 0)})"
        if refusal.get("code") == _NOT_FOUND:
            raise NotFoundError(text)
        if refusal.get("code") in (500, 503):
            raise UnavailableError(text)
        raise UnprocessableError(text)
    return answer


async def streams_of(client: Client, subject: str) -> list[str]:
    """Return the names of the streams that store messages of ``subject``, which may have wildcards."""
    answer = await ask(client, "STREAM.NAMES", {"subject": subject})
    return list(answer.get("streams") or ())


async def stream_of(client: Client, subject: str) -> str:
    """Return the one stream that stores ``subject``. Raises NotFoundError where there is none, or more than one."""
    names = await streams_of(client, subject)
    if len(names) == 1:
        return names[0]
    if not names:
        raise NotFoundError(
            f"no stream stores {subject!r}; make one with `nats stream add NAME --subjects '{subject}'`",
            code="no_stream",
        )
    raise NotFoundError(
        f"{len(names)} streams store {subject!r} ({', '.join(names[:5])}); name one of them as 'stream'",
        code="no_stream",
    )


async def stream_state(client: Client, name: str) -> StreamState:
    """Return how a stream is. Raises NotFoundError where there is none."""
    try:
        answer = await ask(client, f"STREAM.INFO.{name}")
    except NotFoundError:
        raise NotFoundError(f"there is no stream {name!r}; make it, or correct its name", code="no_stream") from None
    state = answer["state"]
    last = int(state["last_seq"])
    first = int(state["first_seq"]) if state["messages"] else last + 1
    return StreamState(name, str(answer["created"]), first, last)
