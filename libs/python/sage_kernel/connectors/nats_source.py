"""Records of a stream of JetStream, in its order, from any sequence number on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from nats.aio.client import Client

from sage_common.errors import NotFoundError, SageError, UnavailableError, UnprocessableError
from sage_kernel.connectors.isolation import refused
from sage_kernel.connectors.jetstream import StreamState, stream_of, stream_state
from sage_kernel.connectors.message_decoder import MessageDecoder, holds_one_record
from sage_kernel.connectors.patience import Attempts
from sage_kernel.connectors.source_options import SourceOptions
from sage_kernel.connectors.stream_reader import ConsumerLostError, StreamMessage, StreamReader
from sage_kernel.connectors.subject_partitions import SubjectPartitions
from sage_kernel.nats_access import NatsAccess
from sage_kernel.operator import Position, SourceBatch, Split
from sage_kernel.problems import PositionGoneError

# Silence after which the reader looks whether it has missed anything.
_LOOK_SECONDS = 2.0
MAX_BATCH_RECORDS = 65_536
# Of a batch, before it is known how many records a message holds.
_FIRST_MESSAGES = 64
_FROM_THERE = "start again from what is there, without the checkpoint; keep messages longer with the stream's limits"


@dataclass(frozen=True)
class NatsSubject:
    """What is read.

    Attributes:
        subject: the subject, with wildcards or without.
        stream: the stream that stores it; None finds it.
        start: where a run without a checkpoint begins: with the ``first`` message there is, or the next ``new`` one.
        is_bounded: end with the last message that is there at the start.
        partitions: those of the subject, where the server partitions it; ``subject`` then matches all of them.
    """

    subject: str
    stream: str | None = None
    start: Literal["first", "new"] = "first"
    is_bounded: bool = False
    partitions: SubjectPartitions | None = None

    def subjects(self, split: Split) -> list[str]:
        """Return what is read of a split."""
        if self.partitions is None or not isinstance(split, list):
            return [self.subject]
        return self.partitions.subjects(_numbers(split))


@dataclass
class _Place:
    """Where reading stands: after this sequence number of the stream made then, and where it ends."""

    after: int
    created: str
    until: int | None
    # The stream's last message at the last look.
    seen: int = 0

    def to_json(self) -> Position:
        return {"after": self.after, "created": self.created, "until": self.until}


class NatsSource:
    """Reads messages without acknowledging them: its position is a sequence number, and replay is exact."""

    def __init__(self, wanted: NatsSubject, options: SourceOptions, nats: NatsAccess, patience: Attempts) -> None:
        self._wanted = wanted
        self._options = options
        self._nats = nats
        self._patience = patience
        self._most_messages = _FIRST_MESSAGES

    async def splits(self) -> Sequence[Split]:
        """The subject is one split, or each of the partitions that the server has made of it."""
        partitions = self._wanted.partitions
        return (None,) if partitions is None else [[number] for number in range(partitions.count)]

    def joined(self, splits: Sequence[Split]) -> Split:
        """Return the partitions of ``splits`` as one, which are read in the order of their stream."""
        return [number for split in splits if isinstance(split, list) for number in split] or None

    async def count(self) -> int:
        """Return how many records there are. Raises UnprocessableError where nobody can say."""
        wanted = self._wanted
        if not wanted.is_bounded:
            raise UnprocessableError("a stream that never ends cannot be counted")
        client = await self._nats.client()
        stream = wanted.stream or await stream_of(client, wanted.subject)
        state = await stream_state(client, stream)
        if wanted.start == "new" or not state.last:
            return 0
        reader = StreamReader(client, stream, [wanted.subject], 1)
        try:
            pending = await reader.open()
            first = await reader.fetch(_LOOK_SECONDS, 1) if pending else []
        except ConsumerLostError as error:
            raise UnavailableError(str(error)) from None
        finally:
            await reader.close()
        if first and not holds_one_record(first[0]):
            raise UnprocessableError("how many records the messages hold is known when they are read")
        return pending

    async def batches(self, split: Split, position: Position) -> AsyncIterator[SourceBatch]:
        """Yield records behind ``position``.

        Raises:
            PositionGoneError: the stream has lost the messages behind it, or is another one by the same name.
            NotFoundError: no stream stores the subject.
        """
        if self._options.schema is None:
            raise UnprocessableError("a NATS source needs a 'schema'; state the fields of its messages")
        decoder = MessageDecoder(self._options.conformer(self._options.schema))
        client = await self._patience.attempt(self._nats.client)
        wanted = self._wanted
        name = wanted.stream
        if name is None:
            name = await self._patience.attempt(lambda: stream_of(client, wanted.subject))
        stream = name
        state = await self._patience.attempt(lambda: stream_state(client, stream))
        place = self._place(position, state)
        empty = pl.DataFrame(schema=dict(self._options.schema))
        subjects = wanted.subjects(split)
        if position is None:
            yield SourceBatch(empty, place.to_json())
        while place.until is None or place.after < place.until:
            reader = await self._patience.attempt(lambda: self._open(client, stream, subjects, place))
            if reader is None:
                break
            try:
                while place.until is None or place.after < place.until:
                    messages = await reader.fetch(_LOOK_SECONDS, self._most_messages)
                    if messages:
                        yield self._in_partitions(split, await self._batch(decoder, messages, place, stream))
                        has_all = place.until is not None and messages[-1].pending == 0
                    else:
                        has_all = await self._look(client, stream, reader, place)
                        yield SourceBatch(empty, place.to_json())
                    if has_all and place.until is not None:
                        return
            except ConsumerLostError:
                continue
            finally:
                await reader.close()

    async def _open(self, client: Client, name: str, subjects: Sequence[str], place: _Place) -> StreamReader | None:
        """Return a reader behind ``place``, or None where a bounded source has nothing left to read."""
        _check(await stream_state(client, name), place)
        reader = StreamReader(client, name, subjects, place.after + 1)
        try:
            pending = await reader.open()
        except NotFoundError as error:
            await reader.close()
            raise _deleted(name) from error
        except SageError:
            await reader.close()
            raise
        if not pending and place.until is not None:
            await reader.close()
            return None
        return reader

    async def _batch(
        self, decoder: MessageDecoder, messages: list[StreamMessage], place: _Place, name: str
    ) -> SourceBatch:
        if place.until is not None and messages[-1].sequence > place.until:
            place_end = next(at for at, message in enumerate(messages) if message.sequence > place.until)
            messages = messages[:place_end]
            place.after = place.until
        else:
            place.after = messages[-1].sequence
        decoded = await asyncio.to_thread(decoder.decode, messages)
        # As many messages as make a batch, from what these held.
        held = max(1, decoded.frame.height // max(1, len(messages)))
        self._most_messages = max(1, MAX_BATCH_RECORDS // held)
        return SourceBatch(
            decoded.frame,
            place.to_json(),
            refused(decoded.bad, lambda index: f"message {messages[index].sequence} of {name}"),
        )

    def _in_partitions(self, split: Split, batch: SourceBatch) -> SourceBatch:
        if self._wanted.partitions is None or not isinstance(split, list):
            return batch
        frame, misplaced = self._wanted.partitions.sort_out(batch.frame, _numbers(split))
        return batch._replace(frame=frame, refused=[*batch.refused, *misplaced])

    async def _look(self, client: Client, name: str, reader: StreamReader, place: _Place) -> bool:
        """Make sure that a silence is one, and move on past the messages of other subjects."""
        try:
            state = await stream_state(client, name)
            _check(state, place)
            if await reader.has_caught_up():
                # As far as the look before: the server may count a message before its consumers know of it.
                place.after = max(place.after, min(place.seen, state.last))
                place.seen = state.last
                return True
        except NotFoundError as error:
            raise _deleted(name) from error
        except PositionGoneError:
            raise
        except SageError:
            pass  # no answer now; the reader goes on, or loses its consumer
        return False

    def _place(self, position: Position, state: StreamState) -> _Place:
        if isinstance(position, dict):
            until = position.get("until")
            place = _Place(
                int(str(position["after"])), str(position["created"]), None if until is None else int(str(until))
            )
            _check(state, place)
            return place
        after = state.last if self._wanted.start == "new" else state.first - 1
        return _Place(after, state.created, state.last if self._wanted.is_bounded else None)


def _numbers(split: list[Any]) -> list[int]:
    return [int(number) for number in split]


def _check(state: StreamState, place: _Place) -> None:
    if state.created != place.created:
        raise PositionGoneError(
            f"the stream {state.name} was made again at {state.created}: it is not the one that was read up to message "
            f"{place.after}",
            _FROM_THERE,
        )
    if state.first > place.after + 1:
        raise PositionGoneError(
            f"the stream {state.name} begins with message {state.first}, and message {place.after + 1} was next: those "
            "between were purged or have expired",
            _FROM_THERE,
        )


def _deleted(name: str) -> PositionGoneError:
    return PositionGoneError(f"the stream {name} was deleted while it was read", "make it again, and start again")
