"""Publishing records to JetStream: once each where they have an id, however long ago the last run was."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Literal

import polars as pl
from nats.aio.client import Client

from sage_common.errors import NotFoundError, TooLargeError, UnprocessableError
from sage_kernel.connectors.ack_window import Ack, AckWindow, Publication, too_large
from sage_kernel.connectors.jetstream import stream_state, streams_of
from sage_kernel.connectors.json_encoder import to_json_records
from sage_kernel.connectors.message_decoder import ARROW_STREAM, CONTENT_TYPE
from sage_kernel.connectors.patience import Attempts
from sage_kernel.connectors.published_ids import MESSAGE_ID, published_since
from sage_kernel.ipc_stream import write_ipc_stream
from sage_kernel.nats_access import NatsAccess
from sage_kernel.operator import State
from sage_kernel.template import Template

_FIELD = re.compile(r"\{[^{}]*\}")
_ARROW_BYTES = 512 * 1024
_LONGEST_ID = 512


@dataclass(frozen=True)
class NatsTarget:
    """Where records go.

    Attributes:
        subject: template of the subject.
        id: template of the record's id; None publishes again what a restart repeats.
        fields: of the payload; empty for all.
        format: one JSON object a message, or many records in Arrow's IPC format.
    """

    subject: str
    id: str | None = None
    fields: tuple[str, ...] = ()
    format: Literal["json", "arrow"] = "json"


class NatsSink:
    """Publishes and awaits every acknowledgement. The checkpoint holds the last sequence number of each stream; the ids
    behind it are read back when the run goes on, and left out when they come again."""

    def __init__(self, target: NatsTarget, nats: NatsAccess, patience: Attempts) -> None:
        self._target = target
        self._nats = nats
        self._patience = patience
        self._subject = Template(target.subject)
        self._id = Template(target.id) if target.id is not None else None
        # Of every subject that the template can make.
        self._pattern = _FIELD.sub("*", target.subject)
        self._client: Client | None = None
        self._window: AckWindow | None = None
        self._positions: dict[str, int] = {}
        self._published: set[str] = set()

    async def write(self, frame: pl.DataFrame) -> None:
        """Publish records. Raises UnprocessableError or TooLargeError for one that no message can hold."""
        client, window = await self._opened()
        messages = self._messages(frame)
        for message in messages:
            if len(message.payload) > client.max_payload:
                raise TooLargeError(too_large(message, client.max_payload))
        await self._publish(client, window, messages)

    async def flush(self) -> State:
        """Return the last sequence number of every stream; what was written has been acknowledged."""
        await self._opened()
        return State({"positions": dict(self._positions)})

    async def restore(self, state: State) -> None:
        """Read back what was published since the checkpoint."""
        positions = state.values.get("positions")
        self._positions = {name: int(str(at)) for name, at in positions.items()} if isinstance(positions, dict) else {}
        if self._id is None:
            return
        client, _ = await self._opened()
        self._published = await self._patience.attempt(lambda: published_since(client, self._positions, self._pattern))

    async def publish(self) -> None:
        """Everything is published as it comes."""

    async def close(self) -> None:
        """Stop listening for acknowledgements."""
        if self._window is not None:
            await self._window.close()

    async def _publish(self, client: Client, window: AckWindow, messages: list[Publication]) -> None:
        stored: dict[int, Ack] = {}
        before = dict(self._positions)
        attempts = 0

        async def attempt() -> None:
            nonlocal attempts
            attempts += 1
            left = {index: message for index, message in enumerate(messages) if index not in stored}
            if attempts > 1 and self._id is not None:
                # What was not acknowledged may be stored all the same, longer ago than the server remembers ids.
                found = await published_since(client, before, self._pattern)
                left = {index: message for index, message in left.items() if _id_of(message) not in found}
            await window.publish(left, stored)

        try:
            await self._patience.attempt(attempt)
        finally:
            for stream, sequence in stored.values():
                self._positions[stream] = max(self._positions.get(stream, 0), sequence)

    async def _opened(self) -> tuple[Client, AckWindow]:
        if self._client is None or self._window is None:
            self._client = await self._patience.attempt(self._nats.client)
            window = AckWindow(self._client)
            await self._patience.attempt(window.open)
            self._window = window
            if not self._positions:
                await self._patience.attempt(self._note_streams)
        return self._client, self._window

    async def _note_streams(self) -> None:
        """Note where the streams end before anything is published."""
        assert self._client is not None
        names = await streams_of(self._client, self._pattern)
        if not names:
            raise NotFoundError(
                f"no stream stores {self._pattern!r}; make one with `nats stream add NAME --subjects "
                f"'{self._pattern}'`",
                code="no_stream",
            )
        self._positions = {name: (await stream_state(self._client, name)).last for name in names}

    def _messages(self, frame: pl.DataFrame) -> list[Publication]:
        chosen = frame.select(self._target.fields) if self._target.fields else frame
        if self._target.format == "arrow":
            return self._arrow_messages(chosen)
        if not self._subject.fields and self._id is None:
            return [Publication(self._target.subject, payload, None) for payload in to_json_records(chosen)]
        named = dict.fromkeys((*self._subject.fields, *(self._id.fields if self._id else ())))
        messages = []
        payloads = to_json_records(chosen)
        for record, payload in zip(frame.select(list(named)).iter_rows(named=True), payloads, strict=True):
            subject = _checked_subject(self._subject.render(record)) if self._subject.fields else self._target.subject
            if self._id is None:
                messages.append(Publication(subject, payload, None))
                continue
            identity = _checked_id(self._id.render(record))
            if identity in self._published:
                self._published.discard(identity)
                continue
            messages.append(Publication(subject, payload, {MESSAGE_ID: identity}))
        return messages

    def _arrow_messages(self, frame: pl.DataFrame) -> list[Publication]:
        buffer = io.BytesIO()
        write_ipc_stream(frame, buffer)
        data = buffer.getvalue()
        if len(data) > _ARROW_BYTES and frame.height > 1:
            half = frame.height // 2
            return [*self._arrow_messages(frame[:half]), *self._arrow_messages(frame[half:])]
        return [Publication(self._target.subject, data, {CONTENT_TYPE: ARROW_STREAM})]


def _id_of(message: Publication) -> str | None:
    return message.headers.get(MESSAGE_ID) if message.headers else None


def _checked_subject(subject: str) -> str:
    tokens = subject.split(".")
    if any(not token or token in ("*", ">") for token in tokens) or any(c <= " " or c == "\x7f" for c in subject):
        raise UnprocessableError(f"{subject[:80]!r} is no subject of NATS; correct the template 'uri' or its fields")
    return subject


def _checked_id(identity: str) -> str:
    if not identity or len(identity) > _LONGEST_ID or any(c < " " or c == "\x7f" for c in identity):
        raise UnprocessableError(
            f"{identity[:80]!r} cannot be the id of a message; give it 1 to {_LONGEST_ID} characters, none of control"
        )
    return identity
